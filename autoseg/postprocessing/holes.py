"""Filling the holes of a structure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cc3d
import numpy as np

from autoseg.dataset import Dataset
from autoseg.postprocessing import postprocessing
from autoseg.postprocessing.target import Target, bounding_box, find_target

CONNECTIVITY = 6
"""A hole that touches the outside only at a corner is closed: the dual of components that join at corners."""


@dataclass(frozen=True)
class FillHoles:
    """Gives a structure the voxels that it encloses, but none that belong to another structure."""

    target: Target

    def __call__(self, labels: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
        """Return label values [Z,Y,X] with enclosed voxels of the surroundings filled; slices alone are 2D images."""
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
    """Return what a mask, cropped to its bounding box, encloses; nothing lies beyond a ``flat`` axis of the image."""
    numbers = cc3d.connected_components(np.ascontiguousarray(~mask), connectivity=CONNECTIVITY)
    enclosed = np.ones(int(numbers.max(initial=0)) + 1, dtype=bool)
    enclosed[0] = False
    for axis in range(3):
        if not flat[axis]:
            for side in (0, -1):
                enclosed[np.unique(numbers.take(side, axis=axis))] = False
    return enclosed[numbers]
