"""Gaussian noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from autoseg.augmentation.draws import NonNegativeRange, Probability, Shape


@dataclass(frozen=True)
class Noise:
    """Adds the same Gaussian noise to all channels; normalized images have a standard deviation of about 1.

    The range of ``std`` is nnU-Net's range of "variance", which nnU-Net's code uses as the standard deviation.
    """

    probability: Probability = 0.1
    std: NonNegativeRange = (0.0, 0.1)

    def sample(self, rng: np.random.Generator, shape: Shape) -> tuple[float, int]:
        """Draw the standard deviation, and the seed of the noise generator on the device."""
        return float(rng.uniform(*self.std)), int(rng.integers(2**62))

    def apply(self, images: torch.Tensor, parameters: Sequence[tuple[float, int]]) -> torch.Tensor:
        """Add noise to images [N,C,*space]; one seed always gives the same noise on the same kind of device."""
        generator = torch.Generator(images.device)
        noise = torch.empty_like(images[:, :1])
        for index, (std, seed) in enumerate(parameters):
            noise[index].normal_(0.0, std, generator=generator.manual_seed(seed))
        return images + noise
