"""A moving average of the weights, which generalizes better than the last of them (Polyak and Juditsky 1992)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class WeightAverage:
    """Exponential moving average of a network's parameters and buffers.

    The decay grows from 0 to ``decay`` as min(decay, (1 + t) / (10 + t)), so that the random start is soon forgotten.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after step number ``step``, counted from 1."""
        weight = 1.0 - min(self.decay, (1.0 + step) / (10.0 + step))
        current = network.state_dict()
        averaged = [name for name, tensor in self.tensors.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([self.tensors[n] for n in averaged], [current[n] for n in averaged], weight)
        for name in self.tensors.keys() - set(averaged):
            self.tensors[name].copy_(current[name])


@contextmanager
def weights_of(network: nn.Module, tensors: dict[str, torch.Tensor] | None) -> Iterator[None]:
    """Give ``network`` other weights, in evaluation mode, for the length of the block; None keeps its own."""
    own = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()} if tensors else None
    was_training = network.training
    network.eval()
    try:
        if tensors:
            network.load_state_dict(tensors)
        yield
    finally:
        if own:
            network.load_state_dict(own)
        network.train(was_training)
