"""Gaussian noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from autoseg.augmentation.draws import NonNegativeRange, Probability, Shape


@dataclass(frozen=True)
class Noise:
    """Adds the same Gaussian noise to all channels; images are normalized, so that 1 is about their deviation.

    The range is that of nnU-Net's "variance", which its code uses as the standard deviation.
    """

    probability: Probability = 0.1
    deviation: NonNegativeRange = (0.0, 0.1)

    def sample(self, rng: np.random.Generator, shape: Shape) -> tuple[float, int]:
        """Draw the standard deviation, and the seed from which the device makes the noise."""
        return float(rng.uniform(*self.deviation)), int(rng.integers(2**62))

    def apply(self, images: torch.Tensor, parameters: Sequence[tuple[float, int]]) -> torch.Tensor:
        """Add noise to images [N,C,*space]; the same seed makes the same noise on the same kind of device."""
        generator = torch.Generator(images.device)
        noise = torch.empty_like(images[:, :1])
        for index, (deviation, seed) in enumerate(parameters):
            noise[index].normal_(0.0, deviation, generator=generator.manual_seed(seed))
        return images + noise
