"""Contrast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from autoseg.augmentation.draws import (
    NonNegativeRange,
    Probability,
    Shape,
    around_one_each,
    each_channel,
    space,
)


@dataclass(frozen=True)
class Contrast:
    """Scales the contrast of each channel around its mean and clips the result to the channel's original range."""

    probability: Probability = 0.15
    range: NonNegativeRange = (0.75, 1.25)

    def sample(self, rng: np.random.Generator, shape: Shape) -> tuple[float, ...]:
        """Draw a factor for each channel."""
        return around_one_each(rng, self.range, shape[0])

    def apply(self, images: torch.Tensor, parameters: Sequence[tuple[float, ...]]) -> torch.Tensor:
        """Scale the contrast of images [N,C,*space]."""
        mean = images.mean(dim=space(images), keepdim=True)
        low, high = images.amin(dim=space(images), keepdim=True), images.amax(dim=space(images), keepdim=True)
        stretched = torch.lerp(mean.expand_as(images), images, each_channel(parameters, images))
        return torch.minimum(torch.maximum(stretched, low), high)
