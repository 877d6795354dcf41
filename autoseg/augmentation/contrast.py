"""Brightness and contrast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from autoseg.augmentation.draws import Range, around_one, each_channel, space


@dataclass(frozen=True)
class Brightness:
    """Multiplies each channel by a factor."""

    probability: float = 0.15
    range: Range = (0.75, 1.25)

    def sample(self, rng: np.random.Generator, channels: int) -> tuple[float, ...]:
        """Draw a factor for each channel."""
        return tuple(around_one(rng, self.range) for _ in range(channels))

    def apply(self, images: torch.Tensor, parameters: Sequence[tuple[float, ...]]) -> torch.Tensor:
        """Multiply images [N,C,*space]."""
        return images * each_channel(list(parameters), images)


@dataclass(frozen=True)
class Contrast:
    """Stretches each channel around its mean, but not beyond its range."""

    probability: float = 0.15
    range: Range = (0.75, 1.25)

    def sample(self, rng: np.random.Generator, channels: int) -> tuple[float, ...]:
        """Draw a factor for each channel."""
        return tuple(around_one(rng, self.range) for _ in range(channels))

    def apply(self, images: torch.Tensor, parameters: Sequence[tuple[float, ...]]) -> torch.Tensor:
        """Stretch images [N,C,*space]."""
        mean = images.mean(dim=space(images), keepdim=True)
        low, high = images.amin(dim=space(images), keepdim=True), images.amax(dim=space(images), keepdim=True)
        stretched = (images - mean) * each_channel(list(parameters), images) + mean
        return torch.minimum(torch.maximum(stretched, low), high)
