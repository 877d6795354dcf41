"""Gamma: a power of the intensities, scaled to 0…1, that keeps their mean and standard deviation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from autoseg.augmentation.draws import (
    PositiveRange,
    Probability,
    Shape,
    around_one_each,
    each_channel,
    space,
)

_SMALL = 1e-7
"""Keeps channels without any contrast, such as empty ones, from being divided by zero."""


@dataclass(frozen=True)
class Gamma:
    """Raises each channel to a power of its own; ``inverted`` does so from the bright end."""

    probability: Probability = 0.3
    range: PositiveRange = (0.7, 1.5)
    inverted: bool = False

    def sample(self, rng: np.random.Generator, shape: Shape) -> tuple[float, ...]:
        """Draw a power for each channel."""
        return around_one_each(rng, self.range, shape[0])

    def apply(self, images: torch.Tensor, parameters: Sequence[tuple[float, ...]]) -> torch.Tensor:
        """Bend the intensities of images [N,C,*space]."""
        signed = -images if self.inverted else images
        deviation, mean = torch.std_mean(signed, dim=space(signed), keepdim=True)
        low, high = signed.amin(dim=space(signed), keepdim=True), signed.amax(dim=space(signed), keepdim=True)
        bent = ((signed - low) / (high - low + _SMALL)) ** each_channel(parameters, signed)
        new_deviation, new_mean = torch.std_mean(bent, dim=space(bent), keepdim=True)
        kept = (bent - new_mean) * (deviation / (new_deviation + _SMALL)) + mean
        return -kept if self.inverted else kept
