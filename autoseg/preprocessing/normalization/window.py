"""Normalization by Hounsfield windows, one channel per window."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autoseg.images.statistics import mapped
from autoseg.preprocessing.normalization import normalizations
from autoseg.preprocessing.normalization.arguments import check_range, check_windows, refuse


@normalizations.register("window")
@dataclass(frozen=True)
class Window:
    """Clip to windows: min(c + w/2, max(c − w/2, x)) for centre c and width w (Moe 2019), one channel per window."""

    windows: Sequence[Sequence[float]]
    """Centre and width of each window, in Hounsfield units."""
    output: Sequence[float] | None = (-1.0, 1.0)
    """Output values of the ends of a window. The default gives a std of about 1, which augmentation assumes. None keeps
    Hounsfield units."""
    hu_offset: float = 0.0
    """Difference of stored values and Hounsfield units, such as 1000 or 1024 if a file has no negative values."""

    def __post_init__(self) -> None:
        check_windows("window", self.windows)
        if self.output is not None:
            check_range("window", "output", self.output)
        if not math.isfinite(self.hu_offset):
            refuse("window", "hu_offset", self.hu_offset, "a finite number")

    @property
    def channels(self) -> int:
        """One channel per window."""
        return len(self.windows)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return [windows,Z,Y,X] of [Z,Y,X]."""
        result = np.empty((self.channels, *image.shape), dtype=np.float32)
        for channel, (centre, width) in zip(result, self.windows, strict=True):
            low, high = centre - width / 2, centre + width / 2
            first, last = (low, high) if self.output is None else self.output
            scale = width / (last - first)
            # One shift replaces (x − offset − low) / scale + first.
            shift = self.hu_offset + low - first * scale
            channel[:] = mapped(image, shift=shift, scale=scale, clip=(low + self.hu_offset, high + self.hu_offset))
        return result
