"""Moving average of the weights; it generalizes better than the weights of the last step (Polyak and Juditsky 1992)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class WeightAverage:
    """Exponential moving average of a network's parameters and buffers.

    The decay of step t is min(decay, (1 + t) / (10 + t)): it grows to ``decay``, so that the random initial weights
    soon lose their influence.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Update the average with the weights after step ``step``, counted from 1."""
        weight = 1.0 - min(self.decay, (1.0 + step) / (10.0 + step))
        current = network.state_dict()
        averaged = [name for name, tensor in self.tensors.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([self.tensors[n] for n in averaged], [current[n] for n in averaged], weight)
        for name in self.tensors.keys() - set(averaged):
            self.tensors[name].copy_(current[name])


@contextmanager
def weights_of(network: nn.Module, tensors: dict[str, torch.Tensor] | None) -> Iterator[None]:
    """Replace the weights of ``network`` within the block and set evaluation mode; None keeps the network's weights."""
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
