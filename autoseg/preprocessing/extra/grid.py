"""Where the voxels of a preprocessed image lie in its file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autoseg.preprocessing.case import Steps
from autoseg.preprocessing.spline import sample_coordinates


@dataclass(frozen=True)
class Grid:
    """The grid of a preprocessed image."""

    steps: Steps
    transpose: tuple[int, int, int]
    """The plan's: axis i is axis transpose[i] of the image in the plan's orientation."""

    def in_file(self, axis: int) -> np.ndarray:
        """Return where the voxels along an axis lie on the axis of the file that it was, in voxels, [n] float64."""
        steps, of_file = self.steps, self.steps.transpose[axis]
        places = sample_coordinates(steps.cropped_shape[axis], steps.shape[axis])
        if steps.flips[axis]:
            return steps.box.stop[of_file] - 1 - places
        return steps.box.start[of_file] + places

    def in_image(self, axis: int) -> np.ndarray:
        """Return where the voxels along an axis lie in the whole image, whose ends are −1 and 1."""
        steps, of_file = self.steps, self.steps.transpose[axis]
        relative = (2 * self.in_file(axis) + 1) / steps.geometry.size[of_file] - 1
        return -relative if steps.flips[axis] else relative

    def in_box(self, axis: int) -> np.ndarray:
        """Return where the voxels along an axis lie in what cropping left, whose ends are −1 and 1."""
        size = self.steps.shape[axis]
        return (2 * np.arange(size) + 1) / size - 1

    def millimetres(self, axis: int) -> np.ndarray:
        """Return where the voxels along an axis lie, in mm from the centre of the file's first voxel."""
        return self.in_file(axis) * self.steps.geometry.spacing[self.steps.transpose[axis]]

    def along(self, values: np.ndarray, axis: int) -> np.ndarray:
        """Shape values along an axis so that they go with arrays [Z,Y,X]."""
        shape = [1, 1, 1]
        shape[axis] = -1
        return values.reshape(shape)

    def spread(self, axes: Sequence[np.ndarray]) -> np.ndarray:
        """Return one channel for each of the axes, the values along it repeated everywhere; [axes,Z,Y,X] float32."""
        made = np.empty((len(axes), *self.steps.shape), dtype=np.float32)
        for axis, (channel, values) in enumerate(zip(made, axes, strict=True)):
            channel[:] = self.along(values, axis)
        return made
