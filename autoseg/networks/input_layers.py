"""Input layers by name: learned layers between the image and the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import nn

from autoseg.networks.protocols import Hypothesis, Learn, hypothesis_of, learning_of
from autoseg.networks.taps import declared_taps
from autoseg.registry import Registry

input_layers: Registry = Registry("input_layers", modules=("autoseg.networks.learnable_window",))


class InputLayer(Protocol):
    """A layer that is built from the input layer of a plan.

    Its constructor gets ``in_channels``, the number of channels that it reads, and ``units``, the result of
    :func:`autoseg.preprocessing.normalization.stored_units` for the channels of the image, which come first.
    """

    out_channels: int

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return [B,out_channels,*patch] for an input [B,in_channels,*patch]."""
        ...


class Undecayed(nn.Parameter):
    """A parameter without weight decay."""


class WithInputLayer(nn.Module):
    """A network with an input layer in front; it has the same attributes as the network."""

    def __init__(self, layer: nn.Module, network: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.network = network
        self.divisor, self.margin = network.divisor, network.margin

    @property
    def taps(self) -> dict[str, nn.Module]:
        """Hidden stages of the network by name; none if it declares none."""
        return dict(declared_taps(self.network))

    @property
    def learn(self) -> Learn | None:
        """The method ``learn`` of the network, applied after the input layer; None if the network has none."""
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
        """The method ``hypothesis`` of the network, with the input layer in front; None if the network has none."""
        own = hypothesis_of(self.network)
        if own is None:
            return None

        def hypothesis(rng: np.random.Generator) -> nn.Module:
            return WithInputLayer(self.layer, own(rng))

        return hypothesis

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the logits of the network, finest first."""
        logits: list[torch.Tensor] = self.network(self.layer(x))
        return logits
