"""What a step of post-processing works on: a class, a region, or all of the foreground."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autoseg.dataset import Dataset
from autoseg.errors import PlanError


@dataclass(frozen=True)
class Target:
    """The label values of a structure, the value that paints it, and the one that its voxels get when removed.

    A voxel removed from a class becomes background. One removed from a region that lies in another, as a tumour's core
    does in the whole tumour, becomes the rest of that other: only what was doubtful goes.
    """

    values: tuple[int, ...]
    inside: int
    outside: int

    def mask(self, labels: np.ndarray) -> np.ndarray:
        """Return where label values [Z,Y,X] belong to the structure."""
        return labels == self.values[0] if len(self.values) == 1 else np.isin(labels, self.values)


def find_target(dataset: Dataset, of: str | None) -> Target:
    """Find what a step names: a class or region of the dataset, or all of the foreground with None."""
    if of is None:
        return Target(dataset.values, inside=dataset.values[0], outside=0)
    if of not in dataset.classes:
        raise PlanError(f"postprocessing, argument 'of': found '{of}', expected one of: {', '.join(dataset.classes)}")
    values = tuple(dataset.classes[of])
    if not dataset.regions:
        return Target(values, inside=values[0], outside=0)
    paint = dict(zip(dataset.regions, dataset.region_order, strict=True))
    around = [name for name, other in dataset.regions.items() if set(values) < set(other)]
    nearest = min(around, key=lambda name: len(dataset.regions[name]), default=None)
    return Target(values, inside=paint[of], outside=0 if nearest is None else _rest(paint[nearest], values))


def _rest(value: int, removed: tuple[int, ...]) -> int:
    """Return the value that paints the region around, or background where that would be the removed one again."""
    return 0 if value in removed else value


def bounding_box(mask: np.ndarray) -> tuple[slice, slice, slice] | None:
    """Return the smallest box [Z,Y,X] around what is set; None where nothing is."""
    slices = []
    for axis in range(3):
        across = tuple(other for other in range(3) if other != axis)
        planes = np.flatnonzero(mask.any(axis=across))
        if not planes.size:
            return None
        slices.append(slice(int(planes[0]), int(planes[-1]) + 1))
        # What is left to look at is smaller each time.
        mask = mask[(slice(None),) * axis + (slices[-1],)]
    z, y, x = slices
    return z, y, x
