"""Simulation of low resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from pydantic import AfterValidator
from torch.nn import functional as F

from autoseg.augmentation.draws import PositiveRange, Probability, Shape
from autoseg.augmentation.spatial import is_flat


def _at_most_one(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[1] > 1:
        raise ValueError("expected factors of at most 1")
    return limits


@dataclass(frozen=True)
class LowResolution:
    """Downsamples channels (nearest voxel), each by its own factor, and upsamples them again (linear).

    Flat patches keep their number of slices (nnU-Net), because their slice axis is already coarse.
    """

    probability: Probability = 0.25
    channel_probability: Probability = 0.5
    zoom: Annotated[PositiveRange, AfterValidator(_at_most_one)] = (0.5, 1.0)

    def sample(self, rng: np.random.Generator, shape: Shape) -> tuple[float, ...]:
        """Draw a factor for each channel; 1 means no change."""
        drawn = rng.uniform(*self.zoom, shape[0])
        return tuple(float(n) for n in np.where(rng.random(shape[0]) < self.channel_probability, drawn, 1.0))

    def apply(self, images: torch.Tensor, parameters: Sequence[tuple[float, ...]]) -> torch.Tensor:
        """Lower the resolution of images [N,C,*space], one channel at a time because each has its own coarse size."""
        result = images.clone()
        for index, zooms in enumerate(parameters):
            for channel, zoom in enumerate(zooms):
                if zoom < 1:
                    result[index, channel] = _degraded(images[index, channel], zoom)
        return result


def _degraded(volume: torch.Tensor, zoom: float) -> torch.Tensor:
    full = tuple(volume.shape)
    small = [max(1, round(n * zoom)) for n in full]
    if is_flat(full):
        small[0] = full[0]
    coarse = F.interpolate(volume[None, None], small, mode="nearest-exact")
    return F.interpolate(coarse, full, mode="trilinear" if len(full) == 3 else "bilinear")[0, 0]
