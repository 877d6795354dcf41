"""How often each class is found at a place of the body."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from autoseg.errors import PlanError
from autoseg.geometry import Geometry
from autoseg.plan import Component
from autoseg.preprocessing.extra import CaseFiles, extra_channels
from autoseg.preprocessing.extra.grid import Grid

LARGEST_GRID = 256
"""Cells along an axis; a finer map than most images would say nothing more."""


@extra_channels.register("prior_map")
@dataclass(frozen=True)
class PriorMap:
    """A map of the classes' frequencies, which a network reads where each voxel lies in the body.

    Each fold has its own map, of its training cases alone, which is kept with its weights
    (:mod:`autoseg.networks.prior_map`): those of the validation cases would tell a network their labels. So the
    preprocessed case has not the map, but the place where it is to be read: relative to the box that cropping to what
    is not zero left or, for a map from a file, relative to the whole image. Nothing is registered: cases must show the
    same part of the body.

    Four channels are stored, p·w for each axis and w, where w is 1: what is padded with zeros, or blended with them
    where a patch is turned, has the right place still, and a weight below 1 (homogeneous coordinates).
    """

    fitted: ClassVar[Component] = {"grid": [1, 1, 1], "maps": 1}
    grid: Sequence[int]
    """Cells of the map along z, y, x of the plan."""
    maps: int
    """One for each label value, or those of the file."""
    file: str | None = None
    """An image whose channels are the maps, in the space of the images, instead of the training cases' frequencies."""

    def __post_init__(self) -> None:
        place = "extra_channels 'prior_map', argument"
        if len(self.grid) != 3 or not all(1 <= cells <= LARGEST_GRID for cells in self.grid):
            expected = f"three numbers of cells from 1 to {LARGEST_GRID}"
            raise PlanError(f"{place} 'grid': found {list(self.grid)}, expected {expected}")
        if self.maps < 1:
            raise PlanError(f"{place} 'maps': found {self.maps}, expected at least 1")

    @property
    def channels(self) -> int:
        """Three coordinates and their weight."""
        return 4

    def __call__(self, grid: Grid, files: CaseFiles | None) -> np.ndarray:
        """Compute [4,Z,Y,X]."""
        where = grid.in_box if self.file is None else grid.in_image
        weight = np.ones((1, *grid.steps.shape), dtype=np.float32)
        return np.concatenate([grid.spread([where(axis) for axis in range(3)]), weight])

    def check(self, geometry: Geometry, files: CaseFiles) -> None:
        """No file of a case is read."""

    def paths(self, files: CaseFiles) -> tuple[Path, ...]:
        """No file of a case is read."""
        return ()

    def mirrored(self, axis: int, transpose: tuple[int, int, int]) -> tuple[int, ...]:
        """In a mirrored body, a voxel reads the map on the other side, where the class that it now has is usual."""
        return (axis,)
