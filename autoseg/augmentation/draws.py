"""Draws that several transforms share."""

from __future__ import annotations

import numpy as np
import torch

Range = tuple[float, float]


def around_one(rng: np.random.Generator, limits: Range) -> float:
    """Draw a factor, below and above 1 with equal chance where the range holds both (nnU-Net)."""
    low, high = limits
    if low < 1 < high:
        return float(rng.uniform(low, 1) if rng.random() < 0.5 else rng.uniform(1, high))
    return float(rng.uniform(low, high))


def each_channel(values: list[tuple[float, ...]], images: torch.Tensor) -> torch.Tensor:
    """Shape one number for each sample and channel so that it multiplies images [N,C,*space]."""
    factors = torch.tensor(values, dtype=images.dtype, device=images.device)
    return factors.reshape(*factors.shape, *[1] * (images.ndim - 2))


def space(images: torch.Tensor) -> tuple[int, ...]:
    """Return the spatial axes of images [N,C,*space]."""
    return tuple(range(2, images.ndim))
