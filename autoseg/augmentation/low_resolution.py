"""Images as a coarser scanner would have taken them."""

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
    """Samples channels down to the nearest voxels, by a factor of their own, and up again linearly.

    Flat patches keep their slices (nnU-Net): there are few, and coarser than the others already.
    """

    probability: Probability = 0.25
    channel_probability: Probability = 0.5
    zoom: Annotated[PositiveRange, AfterValidator(_at_most_one)] = (0.5, 1.0)

    def sample(self, rng: np.random.Generator, shape: Shape) -> tuple[float, ...]:
        """Draw a factor for each channel; 1 leaves it as it is."""
        drawn = rng.uniform(*self.zoom, shape[0])
        return tuple(float(n) for n in np.where(rng.random(shape[0]) < self.channel_probability, drawn, 1.0))

    def apply(self, images: torch.Tensor, parameters: Sequence[tuple[float, ...]]) -> torch.Tensor:
        """Degrade images [N,C,*space]; every chosen channel has a size of its own on the way, so one at a time."""
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
