"""First layers by name, that learn how images enter a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import nn

from autoseg.networks.own_ways import Hypothesis, Learn, hypothesis_of, learning_of
from autoseg.registry import Registry

input_layers: Registry = Registry("input_layers", modules=("autoseg.networks.learnable_window",))


class InputLayer(Protocol):
    """What a plan's input layer becomes.

    It is made from ``in_channels``, the number of channels that it reads, and ``units``, as
    :func:`autoseg.preprocessing.normalization.stored_units` gives them for those of the image, which come first.
    """

    out_channels: int

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return [B,out_channels,*patch] of [B,in_channels,*patch]."""
        ...


class Undecayed(nn.Parameter):
    """A parameter that no optimizer pulls towards 0."""


class WithInputLayer(nn.Module):
    """A network behind an input layer; to others it is that network."""

    def __init__(self, layer: nn.Module, network: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.network = network
        self.divisor, self.margin = network.divisor, network.margin

    @property
    def taps(self) -> dict[str, nn.Module]:
        """Hidden stages that losses may read, by name."""
        return self.network.taps  # type: ignore[return-value]

    @property
    def learn(self) -> Learn | None:
        """How the network learns, where it has a way of its own."""
        own = learning_of(self.network)
        if own is None:
            return None

        def learn(
            images: torch.Tensor, labels: torch.Tensor, seeds: Sequence[int]
        ) -> tuple[list[torch.Tensor], torch.Tensor]:
            return own(self.layer(images), labels, seeds)

        return learn

    @property
    def hypothesis(self) -> Hypothesis | None:
        """What draws one of the network's hypotheses, where it has several."""
        own = hypothesis_of(self.network)
        if own is None:
            return None

        def hypothesis(rng: np.random.Generator) -> nn.Module:
            return WithInputLayer(self.layer, own(rng))

        return hypothesis

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the network's logits, finest first."""
        logits: list[torch.Tensor] = self.network(self.layer(x))
        return logits
