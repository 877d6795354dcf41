"""First layers by name, that learn how images enter a network."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import nn

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

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the network's logits, finest first."""
        logits: list[torch.Tensor] = self.network(self.layer(x))
        return logits
