"""Gaussian noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from autoseg.augmentation.draws import Range


@dataclass(frozen=True)
class Noise:
    """Adds Gaussian noise of one variance to all channels; images are normalized, so that 1 is their variance."""

    probability: float = 0.1
    variance: Range = (0.0, 0.1)

    def sample(self, rng: np.random.Generator, channels: int) -> tuple[float, int]:
        """Draw the standard deviation, and the seed from which the device makes the noise."""
        return math.sqrt(rng.uniform(*self.variance)), int(rng.integers(2**62))

    def apply(self, images: torch.Tensor, parameters: Sequence[tuple[float, int]]) -> torch.Tensor:
        """Add noise to images [N,C,*space]."""
        generator = torch.Generator(images.device)
        noise = torch.empty_like(images)
        for index, (deviation, seed) in enumerate(parameters):
            noise[index].normal_(0.0, deviation, generator=generator.manual_seed(seed))
        return images + noise
