"""Fill the holes of a structure."""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np

from autoseg.data.dataset import Dataset
from autoseg.postprocessing import PredictedCase, postprocessing
from autoseg.postprocessing.target import Target, bounding_box, find_target

CONNECTIVITY = 6
"""Connectivity of the background. A hole that touches the outside only at a corner counts as closed, because components
are connected at corners (connectivity 26)."""


@dataclass(frozen=True)
class FillHoles:
    """Adds enclosed voxels to a structure, but no voxels of another structure."""

    target: Target

    def __call__(self, case: PredictedCase, labels: np.ndarray) -> np.ndarray:
        """Return label values [Z,Y,X] with filled holes."""
        return self.fill(labels)

    def fill(self, labels: np.ndarray) -> np.ndarray:
        """Fill enclosed voxels of label values [Z,Y,X]; a single slice is filled as a 2D image."""
        mask = self.target.mask(labels)
        box = bounding_box(mask)
        if box is None:
            return labels
        filled = _holes(mask[box], flat=tuple(n == 1 for n in labels.shape)) & (labels[box] == self.target.outside)
        if not filled.any():
            return labels
        result = labels.copy()
        result[box][filled] = self.target.inside
        return result


@postprocessing.register("fill_holes")
def fill_holes(dataset: Dataset, of: str) -> FillHoles:
    """Fill the holes of the class ``of``."""
    return FillHoles(find_target(dataset, of))


def _holes(mask: np.ndarray, *, flat: tuple[bool, ...]) -> np.ndarray:
    """Return the voxels that a mask encloses; the mask is cropped to its bounding box.

    An axis is ``flat`` if the image has one voxel along it. The borders of such an axis do not count as outside.
    """
    numbers = cc3d.connected_components(np.ascontiguousarray(~mask), connectivity=CONNECTIVITY)
    enclosed = np.ones(int(numbers.max(initial=0)) + 1, dtype=bool)
    enclosed[0] = False
    for axis in range(3):
        if not flat[axis]:
            for side in (0, -1):
                enclosed[np.unique(numbers.take(side, axis=axis))] = False
    return enclosed[numbers]
