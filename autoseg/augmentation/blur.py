"""Gaussian blur."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from autoseg.augmentation.draws import Range

TRUNCATE = 4.0
"""Standard deviations after which the kernel ends, as scipy's does."""


@dataclass(frozen=True)
class Blur:
    """Blurs channels, each by a standard deviation of its own, in voxels."""

    probability: float = 0.2
    channel_probability: float = 0.5
    sigma: Range = (0.5, 1.0)

    def sample(self, rng: np.random.Generator, channels: int) -> tuple[float, ...]:
        """Draw a standard deviation for each channel; 0 leaves it as it is."""
        drawn = rng.uniform(*self.sigma, channels)
        return tuple(float(n) for n in np.where(rng.random(channels) < self.channel_probability, drawn, 0.0))

    def apply(self, images: torch.Tensor, parameters: Sequence[tuple[float, ...]]) -> torch.Tensor:
        """Blur images [N,C,*space], all chosen channels of all samples in one convolution for each axis."""
        sigmas = torch.tensor(parameters, device=images.device)
        chosen = sigmas > 0
        if not chosen.any():
            return images
        result = images.clone()
        result[chosen] = blurred(images[chosen], sigmas[chosen])
        return result


def blurred(volumes: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
    """Blur volumes [N,*space], each with its own sigma; edges are repeated beyond the border."""
    radius = math.ceil(TRUNCATE * float(sigmas.max()))
    offsets = torch.arange(-radius, radius + 1, device=volumes.device, dtype=volumes.dtype)
    inside = offsets.abs() <= (TRUNCATE * sigmas[:, None] + 0.5).floor()
    kernels = torch.exp(-0.5 * (offsets / sigmas[:, None]) ** 2) * inside
    kernels = kernels / kernels.sum(dim=1, keepdim=True)
    axes = volumes.ndim - 1
    convolve = F.conv3d if axes == 3 else F.conv2d
    result = volumes[None]
    for axis in range(axes):
        if volumes.shape[axis + 1] == 1:
            continue
        pad = [0] * (2 * axes)
        pad[2 * (axes - 1 - axis)] = pad[2 * (axes - 1 - axis) + 1] = radius
        shape = [len(kernels), 1, *(len(offsets) if other == axis else 1 for other in range(axes))]
        result = convolve(F.pad(result, pad, mode="replicate"), kernels.reshape(shape), groups=len(kernels))
    return result[0]
