"""Image geometry: size, spacing, origin and direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from autoseg.images.orientation import orientation_of

SPACING_TOLERANCE = 1e-3
"""Largest relative difference of equal spacings: headers contain rounded values."""
ORIGIN_TOLERANCE = 0.1
"""Largest difference of equal origins, in voxels."""
DIRECTION_TOLERANCE = 1e-2
"""Largest difference of equal direction cosines, about half a degree."""


@dataclass(frozen=True)
class Geometry:
    """The grid of an image. ``size`` and ``spacing`` (mm) are (z, y, x); ``origin`` and ``direction`` are ITK's.

    A 2D image has one slice; it keeps the two-dimensional origin and direction of its file.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, ...]
    direction: tuple[float, ...]
    dimension: int = 3

    @classmethod
    def from_itk(
        cls, size: Sequence[int], spacing: Sequence[float], origin: Sequence[float], direction: Sequence[float]
    ) -> Geometry:
        """Make a geometry of ITK's values, which are ordered (x, y, z) or (x, y)."""
        z, y, x = (*([1] if len(size) == 2 else []), *reversed(size))
        dz, dy, dx = (*([1.0] if len(size) == 2 else []), *reversed(spacing))
        origin, direction = tuple(float(n) for n in origin), tuple(float(n) for n in direction)
        return cls((int(z), int(y), int(x)), (float(dz), float(dy), float(dx)), origin, direction, len(size))

    @property
    def orientation(self) -> str:
        """Patient directions in which the indices of the axes z, y and x grow: SPL for ITK's standard axial image."""
        return orientation_of(self.direction)

    def differences(self, other: Geometry) -> list[str]:
        """Describe the differences from another geometry that exceed the tolerances; empty if none."""
        if self.dimension != other.dimension:
            return [f"{self.dimension} axes and {other.dimension}"]
        found = []
        if self.size != other.size:
            found.append(f"size {_text(self.size)} and {_text(other.size)}")
        if not np.allclose(self.spacing, other.spacing, rtol=SPACING_TOLERANCE, atol=0):
            found.append(f"spacing {_text(self.spacing)} and {_text(other.spacing)}")
        if np.abs(np.subtract(self.origin, other.origin)).max() > ORIGIN_TOLERANCE * min(self.spacing):
            found.append(f"origin {_text(self.origin)} and {_text(other.origin)}")
        if np.abs(np.subtract(self.direction, other.direction)).max() > DIRECTION_TOLERANCE:
            found.append(f"direction {_text(self.direction)} and {_text(other.direction)}")
        return found


@dataclass(frozen=True)
class Volume:
    """An image: ``array`` float32 [C,Z,Y,X] on the grid of its ``geometry``."""

    array: np.ndarray
    geometry: Geometry
    missing_channels: tuple[int, ...] = ()
    """Numbers of the dataset's channels that the image lacks; ``array`` contains the others."""


def _text(numbers: Sequence[float]) -> str:
    return "(" + ", ".join(f"{n:.6g}" for n in numbers) + ")"
