"""Images as a coarser scanner would have taken them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from autoseg.augmentation.draws import Range


@dataclass(frozen=True)
class LowResolution:
    """Samples channels down to the nearest voxels, by a factor of their own, and up again linearly."""

    probability: float = 0.25
    channel_probability: float = 0.5
    zoom: Range = (0.5, 1.0)

    def sample(self, rng: np.random.Generator, channels: int) -> tuple[float, ...]:
        """Draw a factor for each channel; 1 leaves it as it is."""
        drawn = rng.uniform(*self.zoom, channels)
        return tuple(float(n) for n in np.where(rng.random(channels) < self.channel_probability, drawn, 1.0))

    def apply(self, images: torch.Tensor, parameters: Sequence[tuple[float, ...]]) -> torch.Tensor:
        """Degrade images [N,C,*space]; every chosen channel has a size of its own on the way, so one at a time."""
        result = images.clone()
        full = tuple(images.shape[2:])
        mode = "trilinear" if len(full) == 3 else "bilinear"
        for index, zooms in enumerate(parameters):
            for channel, zoom in enumerate(zooms):
                if zoom < 1:
                    small = tuple(max(1, round(n * zoom)) for n in full)
                    one = F.interpolate(images[index, channel][None, None], small, mode="nearest-exact")
                    result[index, channel] = F.interpolate(one, full, mode=mode)[0, 0]
        return result
