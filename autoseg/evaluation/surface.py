"""Distances between the surfaces of a label in two maps."""

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
"""Approximate cost of one k-d tree query, in voxels of a distance transform (measured)."""


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances in mm from each surface voxel of one map to the nearest one of the other map, in the input order."""

    from_prediction: Distances
    from_reference: Distances

    def hausdorff(self, percentile: float = 95) -> float:
        """Return the larger of the two directed percentiles; 100 gives the Hausdorff distance.

        This is the definition of Metrics Reloaded (Maier-Hein et al., Nature Methods 21, 2024) and of most challenges.
        Others use the percentile of the pooled distances, which is never larger.
        """
        directed = (self.from_prediction, self.from_reference)
        return float(max(np.percentile(distances, percentile) for distances in directed))

    def average(self) -> float:
        """Return the average symmetric surface distance: the mean over the pooled surface voxels of both maps."""
        return float(np.concatenate((self.from_prediction, self.from_reference)).mean())


def surface_distances(
    prediction: Indices,
    reference: Indices,
    *,
    shape: Sequence[int],
    spacing: Sequence[float],
    limit: float = np.inf,
) -> SurfaceDistances:
    """Measure the distances between two nonempty surfaces, given as flat indices from :func:`surfaces`.

    ``shape`` is the shape of the indexed array, ``spacing`` (z,y,x) is in mm. Distances of ``limit`` mm or more may be
    returned as infinity, which is faster.
    """
    step = np.asarray(spacing, dtype=np.float64)
    return SurfaceDistances(
        from_prediction=_directed(prediction, reference, shape, step, limit),
        from_reference=_directed(reference, prediction, shape, step, limit),
    )


def surfaces(labels: npt.NDArray[np.integer | np.bool_], *, axes: Sequence[int] = (0, 1, 2)) -> dict[int, Indices]:
    """Return the surface voxels of each label above 0 in a map [Z,Y,X], as sorted flat indices.

    ``axes`` are those of :func:`surface_voxels`. One pass over the map finds all labels, so the time depends little on
    their number.
    """
    voxels = np.flatnonzero(surface_voxels(labels, axes=axes))
    found = labels.ravel()[voxels].astype(np.int64)
    order = np.argsort(found, kind="stable")
    values, starts = np.unique(found[order], return_index=True)
    return dict(zip(values.tolist(), np.split(voxels[order], starts[1:]), strict=False))


def surface_voxels(labels: npt.NDArray[np.integer | np.bool_], *, axes: Sequence[int] = (0, 1, 2)) -> Mask:
    """Return the mask of surface voxels: a face touches another label, the background or the border of the array.

    Only labels above 0 have surface voxels. Only faces across ``axes`` count: in an image of one slice, only the
    in-plane axes.
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
    """Return the distance from each voxel of ``start`` to the nearest of ``goal``, with the faster of two methods."""
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
    # The points form a regular grid: balancing the tree takes time and does not make queries faster.
    tree = cKDTree(goal * spacing, balanced_tree=False, compact_nodes=False)
    distances: Distances = tree.query(start * spacing, distance_upper_bound=limit)[0]
    return distances


def _by_transform(start: Indices, goal: Indices, box: Indices, spacing: Distances) -> Distances:
    elsewhere = np.ones(box, dtype=np.bool_)
    elsewhere[tuple(goal.T)] = False
    distances: Distances = distance_transform_edt(elsewhere, sampling=spacing)[tuple(start.T)]
    return distances
