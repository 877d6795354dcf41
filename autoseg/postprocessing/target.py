"""Target of a post-processing step: a class, a region, or the whole foreground."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autoseg.data.dataset import Dataset
from autoseg.errors import PlanError


@dataclass(frozen=True)
class Target:
    """The label values of a structure, the value of added voxels (``inside``) and of removed voxels (``outside``).

    A voxel removed from a class becomes background. A voxel removed from a region inside another region, for example
    from a tumour's core in the whole tumour, stays in the outer region.
    """

    values: tuple[int, ...]
    inside: int
    outside: int

    def mask(self, labels: np.ndarray) -> np.ndarray:
        """Return a mask [Z,Y,X] of the voxels whose label values belong to the structure."""
        return labels == self.values[0] if len(self.values) == 1 else np.isin(labels, self.values)


def find_target(dataset: Dataset, of: str | None) -> Target:
    """Return the target for the class or region ``of``, or for the whole foreground with None.

    Raises :class:`PlanError` if the dataset has no such class or region.
    """
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
    """Return the value of the outer region, or background if this value belongs to the removed structure."""
    return 0 if value in removed else value


def bounding_box(mask: np.ndarray) -> tuple[slice, slice, slice] | None:
    """Return the bounding box [Z,Y,X] of a mask; None if the mask is empty."""
    slices = []
    for axis in range(3):
        across = tuple(other for other in range(3) if other != axis)
        planes = np.flatnonzero(mask.any(axis=across))
        if not planes.size:
            return None
        slices.append(slice(int(planes[0]), int(planes[-1]) + 1))
        # Crop the mask, so that the next axis has fewer voxels to test.
        mask = mask[(slice(None),) * axis + (slices[-1],)]
    z, y, x = slices
    return z, y, x
