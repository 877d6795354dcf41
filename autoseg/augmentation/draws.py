"""Types of settings, and random draws that several transforms use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from pydantic import AfterValidator, Field


def _ordered(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] > limits[1]:
        raise ValueError("expected the lower limit first")
    return limits


Probability = Annotated[float, Field(ge=0, le=1)]
Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NonNegativeRange = Annotated[tuple[NonNegative, NonNegative], AfterValidator(_ordered)]
PositiveRange = Annotated[tuple[Positive, Positive], AfterValidator(_ordered)]

Shape = tuple[int, ...]
"""The shape of one sample: its channels, then its spatial axes."""


def around_one(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    """Draw a factor; if the range contains 1, below and above 1 with equal probability (nnU-Net)."""
    low, high = limits
    if low < 1 < high:
        return float(rng.uniform(low, 1) if rng.random() < 0.5 else rng.uniform(1, high))
    return float(rng.uniform(low, high))


def around_one_each(rng: np.random.Generator, limits: tuple[float, float], channels: int) -> tuple[float, ...]:
    """Draw a factor for each channel as :func:`around_one` does."""
    return tuple(around_one(rng, limits) for _ in range(channels))


def each_channel(values: Sequence[tuple[float, ...]], images: torch.Tensor) -> torch.Tensor:
    """Reshape one value per sample and channel so that it broadcasts with images [N,C,*space]."""
    factors = torch.tensor(values, dtype=images.dtype, device=images.device)
    return factors.reshape(*factors.shape, *[1] * (images.ndim - 2))


def space(images: torch.Tensor) -> tuple[int, ...]:
    """Return the spatial axes of images [N,C,*space]."""
    return tuple(range(2, images.ndim))
