"""Gaussian blur."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from autoseg.augmentation.draws import PositiveRange, Probability, Shape

TRUNCATE = 4.0
"""Radius of the kernel in standard deviations, as in scipy."""

Sigmas = tuple[float, ...]
"""Standard deviation along each axis, in voxels; empty for a channel that is not blurred."""


@dataclass(frozen=True)
class Blur:
    """Blurs channels; each channel has its own standard deviation along each axis, in voxels."""

    probability: Probability = 0.2
    channel_probability: Probability = 0.5
    sigma: PositiveRange = (0.5, 1.0)

    def sample(self, rng: np.random.Generator, shape: Shape) -> tuple[Sigmas, ...]:
        """Draw standard deviations for each channel."""
        drawn = rng.uniform(*self.sigma, (shape[0], len(shape) - 1))
        chosen = rng.random(shape[0]) < self.channel_probability
        return tuple(tuple(float(n) for n in sigmas) if on else () for sigmas, on in zip(drawn, chosen, strict=True))

    def apply(self, images: torch.Tensor, parameters: Sequence[tuple[Sigmas, ...]]) -> torch.Tensor:
        """Blur images [N,C,*space], with one convolution per axis for all chosen channels of all samples."""
        chosen = [
            (sample, channel, sigmas)
            for sample, channels in enumerate(parameters)
            for channel, sigmas in enumerate(channels)
            if sigmas
        ]
        if not chosen:
            return images
        samples, channels, sigmas = (list(part) for part in zip(*chosen, strict=True))
        result = images.clone()
        result[samples, channels] = blurred(images[samples, channels], sigmas)
        return result


def blurred(volumes: torch.Tensor, sigmas: Sequence[Sigmas]) -> torch.Tensor:
    """Blur volumes [N,*space], each with its own standard deviations; edge values are repeated outside the border."""
    result = volumes[None]
    for axis, along in enumerate(zip(*sigmas, strict=True)):
        if volumes.shape[axis + 1] > 1:
            result = _blur_axis(result, axis, _kernels(along).to(volumes))
    return result[0]


def _kernels(sigmas: Sequence[float]) -> torch.Tensor:
    """Return one kernel per sigma, [N,width]; all have the width of the widest and are padded with zeros."""
    radii = torch.tensor([math.floor(TRUNCATE * sigma + 0.5) for sigma in sigmas])[:, None]
    offsets = torch.arange(-int(radii.max()), int(radii.max()) + 1)
    kernels = torch.exp(-0.5 * (offsets / torch.tensor(sigmas)[:, None]) ** 2) * (offsets.abs() <= radii)
    return kernels / kernels.sum(dim=1, keepdim=True)


def _blur_axis(volumes: torch.Tensor, axis: int, kernels: torch.Tensor) -> torch.Tensor:
    """Convolve volumes [1,N,*space] along one spatial axis, each with its own kernel."""
    axes, (count, width) = volumes.ndim - 2, kernels.shape
    pad = [0] * (2 * axes)
    last_first = axes - 1 - axis
    pad[2 * last_first] = pad[2 * last_first + 1] = width // 2
    shape = [count, 1, *(width if other == axis else 1 for other in range(axes))]
    convolve = F.conv3d if axes == 3 else F.conv2d
    return convolve(F.pad(volumes, pad, mode="replicate"), kernels.reshape(shape), groups=count)
