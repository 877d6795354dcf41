"""Brightness."""

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
)


@dataclass(frozen=True)
class Brightness:
    """Multiplies each channel by its own factor."""

    probability: Probability = 0.15
    range: NonNegativeRange = (0.75, 1.25)

    def sample(self, rng: np.random.Generator, shape: Shape) -> tuple[float, ...]:
        """Draw a factor for each channel."""
        return around_one_each(rng, self.range, shape[0])

    def apply(self, images: torch.Tensor, parameters: Sequence[tuple[float, ...]]) -> torch.Tensor:
        """Multiply images [N,C,*space]."""
        return images * each_channel(parameters, images)
