"""Extra channels: position of each voxel in the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from autoseg.data.dataset import CaseFiles
from autoseg.errors import PlanError
from autoseg.images.geometry import Geometry
from autoseg.preprocessing.extra import extra_channels
from autoseg.preprocessing.extra.grid import Grid

Axis = Literal["z", "y", "x"]
AXES: tuple[Axis, ...] = ("z", "y", "x")


@extra_channels.register("position")
@dataclass(frozen=True)
class Position:
    """The position of each voxel along axes of the whole image, from −1 (start) to 1 (end), one channel per axis."""

    axes: Sequence[Axis] = AXES
    """Axes of the image in the plan's orientation, before transposition."""

    def __post_init__(self) -> None:
        if not self.axes or len(set(self.axes)) < len(self.axes):
            raise PlanError(
                f"extra_channels 'position', argument 'axes': found {list(self.axes)}, expected some of zyx, each once"
            )

    @property
    def channels(self) -> int:
        """One channel per axis."""
        return len(self.axes)

    def __call__(self, grid: Grid, files: CaseFiles | None) -> np.ndarray:
        """Compute [axes,Z,Y,X]."""
        everywhere = grid.spread([grid.in_image(axis) for axis in range(3)])
        return everywhere[[grid.transpose.index(AXES.index(axis)) for axis in self.axes]]

    def check(self, geometry: Geometry, files: CaseFiles) -> None:
        """No file is read."""

    def paths(self, files: CaseFiles) -> tuple[Path, ...]:
        """No file is read."""
        return ()

    def mirrored(self, axis: int, transpose: tuple[int, int, int]) -> tuple[int, ...]:
        """Return the channels of the mirrored axis: in a mirrored body, position −1 becomes 1."""
        return tuple(number for number, name in enumerate(self.axes) if transpose.index(AXES.index(name)) == axis)
