"""Distances between the surfaces that labels have in two maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

Mask = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]
Distances = npt.NDArray[np.float64]

TREE_SEARCH_COST = 20
"""Voxels of a distance transform that take as long as one search in a tree of points, about (measured)."""


@dataclass(frozen=True)
class SurfaceDistances:
    """The distance in mm from each surface voxel in one map to the nearest in the other, in the order they came in."""

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
        """Return the average symmetric surface distance: the mean over the surface voxels of both, pooled."""
        return float(np.concatenate((self.from_prediction, self.from_reference)).mean())


def surface_distances(
    prediction: Indices,
    reference: Indices,
    *,
    shape: Sequence[int],
    spacing: Sequence[float],
    limit: float = np.inf,
) -> SurfaceDistances:
    """Measure the distances between two surfaces, neither of them empty, given as :func:`surfaces` gives them.

    ``shape`` is that of the array which the flat indices are of, ``spacing`` (z,y,x) in mm. Distances of ``limit`` mm
    and more need not be told apart and may be infinite, which is faster.
    """
    step = np.asarray(spacing, dtype=np.float64)
    return SurfaceDistances(
        from_prediction=_directed(prediction, reference, shape, step, limit),
        from_reference=_directed(reference, prediction, shape, step, limit),
    )


def surfaces(labels: npt.NDArray[np.integer | np.bool_], *, axes: Sequence[int] = (0, 1, 2)) -> dict[int, Indices]:
    """Return the surface voxels of each label above 0 in a map [Z,Y,X], as sorted flat indices; ``axes`` as below.

    All labels are found in one pass over the map, so that the time hardly depends on their number.
    """
    voxels = np.flatnonzero(surface_voxels(labels, axes=axes))
    found = labels.ravel()[voxels].astype(np.int64)
    order = np.argsort(found, kind="stable")
    values, starts = np.unique(found[order], return_index=True)
    return dict(zip(values.tolist(), np.split(voxels[order], starts[1:]), strict=False))


def surface_voxels(labels: npt.NDArray[np.integer | np.bool_], *, axes: Sequence[int] = (0, 1, 2)) -> Mask:
    """Return which voxels of labels above 0 touch another label, background or the border of the array with a face.

    Only faces across ``axes`` count: an image of one slice has neighbours in its plane alone.
    """
    surface = np.zeros(labels.shape, dtype=np.bool_)
    for axis in axes:
        along, within = np.moveaxis(labels, axis, 0), np.moveaxis(surface, axis, 0)
        differs = along[1:] != along[:-1]
        within[1:] |= differs
        within[:-1] |= differs
        within[[0, -1]] = True
    surface &= labels > 0
    return surface


def _directed(start: Indices, goal: Indices, shape: Sequence[int], spacing: Distances, limit: float) -> Distances:
    """Distances from each voxel of ``start`` to the nearest of ``goal``, by the way that is faster for these two."""
    distances = np.zeros(len(start))
    alone = ~np.isin(start, goal, assume_unique=True)
    if not alone.any():
        return distances
    from_points, to_points = _points(start[alone], shape), _points(goal, shape)
    low = np.minimum(from_points.min(axis=0), to_points.min(axis=0))
    box = np.maximum(from_points.max(axis=0), to_points.max(axis=0)) - low + 1
    if len(from_points) * TREE_SEARCH_COST > box.prod():
        distances[alone] = _by_transform(from_points - low, to_points - low, box, spacing)
    else:
        distances[alone] = _by_tree(from_points, to_points, spacing, limit)
    return distances


def _points(voxels: Indices, shape: Sequence[int]) -> Indices:
    return np.stack(np.unravel_index(voxels, tuple(shape)), axis=1)


def _by_tree(start: Indices, goal: Indices, spacing: Distances, limit: float) -> Distances:
    # Voxels lie on a grid, where balancing the tree costs much and gains nothing.
    tree = cKDTree(goal * spacing, balanced_tree=False, compact_nodes=False)
    distances: Distances = tree.query(start * spacing, distance_upper_bound=limit)[0]
    return distances


def _by_transform(start: Indices, goal: Indices, box: Indices, spacing: Distances) -> Distances:
    elsewhere = np.ones(box, dtype=np.bool_)
    elsewhere[tuple(goal.T)] = False
    distances: Distances = distance_transform_edt(elsewhere, sampling=spacing)[tuple(start.T)]
    return distances
