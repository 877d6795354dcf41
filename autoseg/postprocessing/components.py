"""Remove connected components: all except the largest, or those below a volume."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cc3d
import numpy as np

from autoseg.data.dataset import Dataset
from autoseg.errors import PlanError
from autoseg.postprocessing import PredictedCase, postprocessing
from autoseg.postprocessing.target import Target, bounding_box, find_target

CONNECTIVITY = 26
"""Voxels that share a corner are connected, as in nnU-Net."""


@dataclass(frozen=True)
class LargestComponent:
    """Keeps the largest connected component of a structure; if several have the largest size, keeps all of these."""

    target: Target

    def __call__(self, case: PredictedCase, labels: np.ndarray) -> np.ndarray:
        """Return label values [Z,Y,X] with the other components removed."""
        return _keep(labels, self.target, lambda sizes: sizes == sizes.max())


@dataclass(frozen=True)
class RemoveSmall:
    """Removes the connected components of a structure with a volume below ``mm3`` cubic millimetres."""

    target: Target
    mm3: float

    def __call__(self, case: PredictedCase, labels: np.ndarray) -> np.ndarray:
        """Return label values [Z,Y,X] without components below the volume."""
        fewest = self.mm3 / float(np.prod(case.spacing))
        return _keep(labels, self.target, lambda sizes: sizes >= fewest)


@postprocessing.register("largest_component")
def largest_component(dataset: Dataset, of: str | None = None) -> LargestComponent:
    """Keep the largest component of the class ``of``; without ``of``, of the whole foreground as one structure."""
    return LargestComponent(find_target(dataset, of))


@postprocessing.register("remove_small")
def remove_small(dataset: Dataset, of: str, mm3: float) -> RemoveSmall:
    """Remove components of the class ``of`` that are smaller than ``mm3`` cubic millimetres."""
    if not mm3 > 0:
        raise PlanError(f"postprocessing 'remove_small', argument 'mm3': found {mm3}, expected more than 0")
    return RemoveSmall(find_target(dataset, of), mm3)


def number_components(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the component number of each voxel of a mask [Z,Y,X] (from 1; 0 outside) and the voxels per component."""
    # cc3d 4.1 allocates too few components for odd sides, for example rows of single voxels, and fails.
    even = np.pad(mask, [(0, side % 2) for side in mask.shape])
    numbers, count = cc3d.connected_components(even, connectivity=CONNECTIVITY, return_N=True)
    numbers = numbers[tuple(slice(side) for side in mask.shape)]
    return numbers, np.bincount(numbers.ravel(), minlength=count + 1)[1:]


def _keep(labels: np.ndarray, target: Target, wanted: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Keep the components whose sizes in voxels fulfil ``wanted``; remove all others."""
    mask = target.mask(labels)
    box = bounding_box(mask)
    if box is None:
        return labels
    numbers, sizes = number_components(mask[box])
    kept = wanted(sizes)
    if kept.all():
        return labels
    result = labels.copy()
    result[box][np.concatenate([[False], ~kept])[numbers]] = target.outside
    return result
