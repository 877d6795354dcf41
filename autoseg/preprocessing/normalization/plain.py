"""Normalizations without dataset statistics: the case's own range, 8-bit colours, and no normalization."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autoseg.images.statistics import mapped
from autoseg.preprocessing.normalization import normalizations

_BRIGHTEST = 255.0


@normalizations.register("rescale")
@dataclass(frozen=True)
class Rescale:
    """Scale the case's own range to 0…1."""

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Normalize [Z,Y,X]; a constant image becomes zeros."""
        low, high = float(image.min()), float(image.max())
        return mapped(image, shift=low, scale=(high - low) or 1.0)


@normalizations.register("rgb")
@dataclass(frozen=True)
class Rgb:
    """Scale 8-bit colours to 0…1."""

    @property
    def units(self) -> tuple[float, float]:
        """Offset and scale of stored values."""
        return 0.0, _BRIGHTEST

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Normalize [Z,Y,X]."""
        return image / np.float32(_BRIGHTEST)


@normalizations.register("none")
@dataclass(frozen=True)
class Untouched:
    """Do not change intensities."""

    @property
    def units(self) -> tuple[float, float]:
        """Offset and scale of stored values."""
        return 0.0, 1.0

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return [Z,Y,X] unchanged."""
        return image
