"""Distances between the surfaces of two masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

Mask = npt.NDArray[np.bool_]
Distances = npt.NDArray[np.float64]

TREE_SEARCH_COST = 20
"""Voxels of a distance transform that take as long as one search in a tree of points, about (measured)."""


@dataclass(frozen=True)
class SurfaceDistances:
    """The distance in mm from each surface voxel of one mask to the nearest of the other, in both directions."""

    from_prediction: Distances
    from_reference: Distances

    def hausdorff(self, percentile: float = 95) -> float:
        """Return the larger of the two directed percentiles; 100 gives the Hausdorff distance itself.

        The definition of Metrics Reloaded (Maier-Hein et al., Nature Methods 21, 2024) and of most challenges; others
        take one percentile of the pooled distances, which is never more.
        """
        directed = (self.from_prediction, self.from_reference)
        return float(max(np.percentile(distances, percentile) for distances in directed))

    def average(self) -> float:
        """Return the average symmetric surface distance: the mean over the surface voxels of both masks, pooled."""
        return float(np.concatenate((self.from_prediction, self.from_reference)).mean())


def surface_distances(
    prediction: Mask, reference: Mask, *, spacing: Sequence[float], axes: Sequence[int] = (0, 1, 2)
) -> SurfaceDistances:
    """Measure the distances between the surfaces of two masks [Z,Y,X] that are not empty; ``spacing`` (z,y,x) in mm.

    Both may be cropped to a box that holds them, as all beyond the array counts as background; ``axes`` as in
    :func:`surface_voxels`.
    """
    surfaces = [surface_voxels(mask, axes=axes) for mask in (prediction, reference)]
    return SurfaceDistances(
        from_prediction=_directed(surfaces[0], surfaces[1], spacing),
        from_reference=_directed(surfaces[1], surfaces[0], spacing),
    )


def surface_voxels(mask: Mask, *, axes: Sequence[int] = (0, 1, 2)) -> Mask:
    """Return the voxels of a mask that touch background, or the border of the array, with a face.

    Only faces across ``axes`` count: an image of one slice has neighbours in its plane alone.
    """
    inside = mask.copy()
    for axis in axes:
        along, within = np.moveaxis(mask, axis, 0), np.moveaxis(inside, axis, 0)
        within[1:] &= along[:-1]
        within[:-1] &= along[1:]
        within[[0, -1]] = False
    return mask & ~inside


def _directed(start: Mask, goal: Mask, spacing: Sequence[float]) -> Distances:
    """Distances from each voxel of ``start`` to the nearest of ``goal``, by the way that is faster for these two."""
    apart = start & ~goal
    searches = int(np.count_nonzero(apart))
    measure = _by_transform if searches * TREE_SEARCH_COST > start.size else _by_tree
    distances = np.zeros(int(np.count_nonzero(start)))
    distances[:searches] = measure(apart, goal, np.asarray(spacing, dtype=np.float64))
    return distances


def _by_tree(start: Mask, goal: Mask, spacing: Distances) -> Distances:
    # Voxels lie on a grid, where balancing the tree costs much and gains nothing.
    tree = cKDTree(np.argwhere(goal) * spacing, balanced_tree=False, compact_nodes=False)
    distances: Distances = tree.query(np.argwhere(start) * spacing)[0]
    return distances


def _by_transform(start: Mask, goal: Mask, spacing: Distances) -> Distances:
    distances: Distances = distance_transform_edt(~goal, sampling=spacing)[start]
    return distances
