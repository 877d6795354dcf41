"""Positions of the voxels of a preprocessed image in its file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autoseg.preprocessing.record import PreprocessingRecord
from autoseg.preprocessing.spline import sample_coordinates


@dataclass(frozen=True)
class Grid:
    """The grid of a preprocessed image."""

    preprocessing: PreprocessingRecord
    transpose: tuple[int, int, int]
    """The plan's transposition: axis i is axis transpose[i] of the image in the plan's orientation."""

    def in_file(self, axis: int) -> np.ndarray:
        """Return the positions of the voxels along an axis, in voxels on the matching axis of the file, [n] float64."""
        preprocessing, of_file = self.preprocessing, self.preprocessing.transpose[axis]
        places = sample_coordinates(preprocessing.cropped_shape[axis], preprocessing.shape[axis])
        if preprocessing.flips[axis]:
            return preprocessing.box.stop[of_file] - 1 - places
        return preprocessing.box.start[of_file] + places

    def in_image(self, axis: int) -> np.ndarray:
        """Return the positions of the voxels along an axis in the whole image; its ends are −1 and 1."""
        preprocessing, of_file = self.preprocessing, self.preprocessing.transpose[axis]
        relative = (2 * self.in_file(axis) + 1) / preprocessing.geometry.size[of_file] - 1
        return -relative if preprocessing.flips[axis] else relative

    def in_box(self, axis: int) -> np.ndarray:
        """Return the positions of the voxels along an axis in the cropped image; its ends are −1 and 1."""
        size = self.preprocessing.shape[axis]
        return (2 * np.arange(size) + 1) / size - 1

    def millimetres(self, axis: int) -> np.ndarray:
        """Return the positions of the voxels along an axis, in mm from the centre of the file's first voxel."""
        return self.in_file(axis) * self.preprocessing.geometry.spacing[self.preprocessing.transpose[axis]]

    def along(self, values: np.ndarray, axis: int) -> np.ndarray:
        """Reshape values along an axis so that they broadcast with arrays [Z,Y,X]."""
        shape = [1, 1, 1]
        shape[axis] = -1
        return values.reshape(shape)

    def spread(self, axes: Sequence[np.ndarray]) -> np.ndarray:
        """Return one channel per axis: its values, broadcast to the whole image; [axes,Z,Y,X] float32."""
        made = np.empty((len(axes), *self.preprocessing.shape), dtype=np.float32)
        for axis, (channel, values) in enumerate(zip(made, axes, strict=True)):
            channel[:] = self.along(values, axis)
        return made
