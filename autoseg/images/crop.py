"""Crop images to their non-zero part, and put cropped arrays back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np


@dataclass(frozen=True)
class Box:
    """A box of voxels, ``start`` inclusive, ``stop`` exclusive, both (z, y, x)."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    start: tuple[int, int, int]
    stop: tuple[int, int, int]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along each axis."""
        z, y, x = (stop - start for start, stop in zip(self.start, self.stop, strict=True))
        return z, y, x

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Index of the box in a [Z,Y,X] array."""
        z, y, x = (slice(start, stop) for start, stop in zip(self.start, self.stop, strict=True))
        return z, y, x


def nonzero_box(array: np.ndarray) -> Box:
    """Return the smallest box that contains every non-zero voxel of any channel of ``array`` [C,Z,Y,X].

    The box of an image of zeros is the whole image.
    """
    occupied = (array != 0).any(axis=0)
    ends = [_extent(occupied.any(axis=other)) for other in ((1, 2), (0, 2), (0, 1))]
    start_z, start_y, start_x = (end[0] for end in ends)
    stop_z, stop_y, stop_x = (end[1] for end in ends)
    return Box((start_z, start_y, start_x), (stop_z, stop_y, stop_x))


def _extent(occupied: np.ndarray) -> tuple[int, int]:
    indices = np.flatnonzero(occupied)
    return (int(indices[0]), int(indices[-1]) + 1) if indices.size else (0, occupied.size)


def uncrop(array: np.ndarray, box: Box, shape: tuple[int, int, int]) -> np.ndarray:
    """Put a cropped ``array`` [Z,Y,X] back to its position in a volume of zeros of the given shape."""
    whole = np.zeros(shape, dtype=array.dtype)
    whole[box.slices] = array
    return whole
