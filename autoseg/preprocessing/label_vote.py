"""Linear resampling of label maps: the eight neighbours of each output voxel vote for a label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import numpy.typing as npt

from autoseg.preprocessing.spline import Indices, nearest_indices, sample_coordinates

Labels = npt.NDArray[np.integer]

VOXELS_PER_VOTE = 1 << 15
"""Output voxels processed at once, so that their eight labels and weights fit into the cache of one core."""

TIE = 1e-6
"""Sums closer than this are equal, so that float32 rounding does not decide between two labels."""


@dataclass(frozen=True)
class AxisNeighbours:
    """The two input voxels around each output voxel on one axis, and the weight (share) of each."""

    indices: tuple[Indices, Indices]
    shares: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]


def resample_label_slab(labels: Labels, shape: tuple[int, int, int], *, rows: slice, orders: Sequence[int]) -> Labels:
    """Return the given rows (first axis) of a label map [Z,Y,X] resampled to ``shape``; ``orders`` (0 or 1) by axis.

    The value of a label's linearly resampled mask is the sum of the shares of those of the eight neighbours that have
    the label. So only a label of a neighbour can win, and voxels whose eight neighbours agree need no computation.
    """
    axes = [_neighbours(old, new, order) for old, new, order in zip(labels.shape, shape, orders, strict=True)]
    axes[0] = _cut(axes[0], rows)
    lowest = _extreme(labels, axes, np.minimum)
    disputed = np.nonzero(lowest != _extreme(labels, axes, np.maximum))
    for start in range(0, len(disputed[0]), VOXELS_PER_VOTE):
        voxels = tuple(index[start : start + VOXELS_PER_VOTE] for index in disputed)
        lowest[voxels] = _vote(labels, axes, voxels)
    return lowest


def _neighbours(size: int, new_size: int, order: int) -> AxisNeighbours:
    if order == 0:
        nearest = nearest_indices(size, new_size)
        whole = np.ones(new_size, dtype=np.float32)
        return AxisNeighbours(indices=(nearest, nearest), shares=(whole, np.zeros_like(whole)))
    coordinates = np.clip(sample_coordinates(size, new_size), 0, size - 1)
    lower = np.floor(coordinates).astype(np.intp)
    upper = np.minimum(lower + 1, size - 1)
    share = (coordinates - lower).astype(np.float32)
    # A neighbour with share 0 must not make a voxel disputed. Every axis that keeps its length has such neighbours.
    upper = np.where(share > 0, upper, lower)
    return AxisNeighbours(indices=(lower, upper), shares=(1 - share, share))


def _cut(axis: AxisNeighbours, rows: slice) -> AxisNeighbours:
    (lower, upper), (lower_share, upper_share) = axis.indices, axis.shares
    return AxisNeighbours(indices=(lower[rows], upper[rows]), shares=(lower_share[rows], upper_share[rows]))


def _extreme(labels: Labels, axes: Sequence[AxisNeighbours], choose: np.ufunc) -> Labels:
    """Return the lowest or highest label among the neighbours of each output voxel."""
    for axis, neighbours in enumerate(axes):
        lower, upper = neighbours.indices
        first = labels.take(lower, axis=axis)
        labels = first if np.array_equal(lower, upper) else choose(first, labels.take(upper, axis=axis), out=first)
    return labels


def _vote(labels: Labels, axes: Sequence[AxisNeighbours], voxels: Sequence[Indices]) -> Labels:
    """Return the label with the largest sum of shares among each voxel's eight neighbours; at ties the lowest label."""
    corners = list(product((0, 1), repeat=3))
    found = np.stack([_at_corner(labels, axes, voxels, corner) for corner in corners])
    shares = [_share_of_corner(axes, voxels, corner) for corner in corners]
    sums = np.stack(shares)
    for one, other in combinations(range(len(corners)), 2):
        same = found[one] == found[other]
        sums[one] += same * shares[other]
        sums[other] += same * shares[one]
    highest_label = labels.dtype.type(found.max())
    winners: Labels = np.where(sums >= sums.max(axis=0) - TIE, found, highest_label).min(axis=0)
    return winners


def _at_corner(
    labels: Labels, axes: Sequence[AxisNeighbours], voxels: Sequence[Indices], corner: tuple[int, ...]
) -> Labels:
    z, y, x = (axis.indices[side][index] for axis, side, index in zip(axes, corner, voxels, strict=True))
    return labels[z, y, x]


def _share_of_corner(
    axes: Sequence[AxisNeighbours], voxels: Sequence[Indices], corner: tuple[int, ...]
) -> npt.NDArray[np.float32]:
    z, y, x = (axis.shares[side][index] for axis, side, index in zip(axes, corner, voxels, strict=True))
    share: npt.NDArray[np.float32] = z * y * x
    return share
