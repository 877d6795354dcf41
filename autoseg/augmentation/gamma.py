"""Gamma: intensities are scaled to 0…1 and raised to a power; mean and standard deviation are restored."""

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
"""Avoids division by zero in channels with constant intensity."""


@dataclass(frozen=True)
class Gamma:
    """Raises each channel to its own power; ``inverted`` negates the intensities before and after."""

    probability: Probability = 0.3
    range: PositiveRange = (0.7, 1.5)
    inverted: bool = False

    def sample(self, rng: np.random.Generator, shape: Shape) -> tuple[float, ...]:
        """Draw a power for each channel."""
        return around_one_each(rng, self.range, shape[0])

    def apply(self, images: torch.Tensor, parameters: Sequence[tuple[float, ...]]) -> torch.Tensor:
        """Apply gamma to images [N,C,*space]."""
        signed = -images if self.inverted else images
        std, mean = torch.std_mean(signed, dim=space(signed), keepdim=True)
        low, high = signed.amin(dim=space(signed), keepdim=True), signed.amax(dim=space(signed), keepdim=True)
        bent = ((signed - low) / (high - low + _SMALL)) ** each_channel(parameters, signed)
        new_deviation, new_mean = torch.std_mean(bent, dim=space(bent), keepdim=True)
        kept = (bent - new_mean) * (std / (new_deviation + _SMALL)) + mean
        return -kept if self.inverted else kept
