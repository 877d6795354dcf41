"""Spline interpolation along one axis as a small banded matrix that includes boundary and prefilter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import comb, factorial

import numpy as np
import numpy.typing as npt
from scipy.ndimage import spline_filter1d

from autoseg.errors import PlanError

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

MAX_ORDER = 5
"""The highest spline order that scipy.ndimage filters."""

EDGE_PADDING = 12
"""Samples by which scipy.ndimage repeats the edge before the prefilter; the same value gives the same results."""

ROWS_PER_BAND = 32
"""Output samples of one matrix product: fewer need more calls, more multiply more zeros (8 to 64 were tested)."""

PREFILTER_REACH = 40
"""Samples after which the prefilter decays to 2e-15 (order 5, pole 0.43); a window wider by this margin is exact."""

NEGLIGIBLE = 1e-9
"""Smaller weights are dropped: a cubic prefilter decays as 0.268^k, so float32 needs 16 samples on each side."""


@dataclass(frozen=True)
class Band:
    """Some rows of an axis' matrix: output samples ``rows`` = ``weights`` × input samples ``columns``."""

    rows: slice
    columns: slice
    weights: Floats


def resample_axis(volume: Floats, axis: int, *, size: int, order: int, out: Floats | None = None) -> Floats:
    """Resample a C-contiguous float32 array along one axis to ``size`` samples, into ``out`` if given."""
    shape = (*volume.shape[:axis], size, *volume.shape[axis + 1 :])
    out = np.empty(shape, dtype=np.float32) if out is None else out
    if order == 0:
        # mode="clip" because "raise" would go through a buffer as large as the result.
        return np.take(volume, nearest_indices(volume.shape[axis], size), axis=axis, out=out, mode="clip")
    outer = int(np.prod(volume.shape[:axis]))
    source, target = volume.reshape(outer, volume.shape[axis], -1), out.reshape(outer, size, -1)
    for band in axis_bands(volume.shape[axis], size, order):
        if source.shape[2] == 1:
            np.matmul(source[:, band.columns, 0], band.weights.T, out=target[:, band.rows, 0])
        else:
            np.matmul(band.weights, source[:, band.columns], out=target[:, band.rows])
    return out


def resample_axes(volume: Floats, out: Floats, *, orders: Sequence[int]) -> None:
    """Resample a volume to the shape of ``out``, each axis with its own spline order.

    Axes that keep their length are skipped. The axis that shrinks most is resampled first, so that no intermediate
    volume is larger than both input and output.
    """
    growth = [new / old for old, new in zip(volume.shape, out.shape, strict=True)]
    axes = sorted((axis for axis in range(volume.ndim) if growth[axis] != 1), key=growth.__getitem__)
    if not axes:
        out[...] = volume
    for axis in axes:
        target = out if axis == axes[-1] else None
        volume = resample_axis(volume, axis, size=out.shape[axis], order=orders[axis], out=target)


@lru_cache(maxsize=64)
def axis_bands(size: int, new_size: int, order: int) -> tuple[Band, ...]:
    """Return the matrix that resamples ``size`` samples to ``new_size``, cut into bands of rows without its zeros.

    Cached, as every channel, class and slab of a case asks for the same three.
    """
    starts = range(0, new_size, ROWS_PER_BAND)
    return tuple(_band(size, new_size, order, slice(start, min(start + ROWS_PER_BAND, new_size))) for start in starts)


def _band(size: int, new_size: int, order: int, rows: slice) -> Band:
    window, matrix = matrix_rows(size, new_size, order=order, rows=rows)
    used = np.flatnonzero((np.abs(matrix) > NEGLIGIBLE).any(axis=0))
    first, last = int(used[0]), int(used[-1])
    weights = np.ascontiguousarray(matrix[:, first : last + 1], dtype=np.float32)
    weights.flags.writeable = False
    return Band(rows=rows, columns=slice(window.start + first, window.start + last + 1), weights=weights)


def matrix_rows(size: int, new_size: int, *, order: int, rows: slice) -> tuple[slice, Doubles]:
    """Return rows of the spline interpolation matrix, and the window of input samples that its columns refer to.

    Equal to ``scipy.ndimage.zoom(mode="nearest", grid_mode=True)``: samples are the centres of their voxels, so the
    field of view does not change, and the edge is repeated outside. Prefilter and B-splines after
    Unser, "Splines: a perfect fit for signal and image processing", IEEE Signal Processing Magazine 16 (1999). Raises
    :class:`PlanError` for an order outside 0…5.
    """
    check_order(order)
    coordinates = sample_coordinates(size, new_size)[rows]
    first = np.floor(coordinates if order % 2 else coordinates + 0.5).astype(np.intp) - order // 2
    window = slice(max(0, int(first[0]) - PREFILTER_REACH), min(size, int(first[-1]) + order + 1 + PREFILTER_REACH))
    coefficients = np.pad(np.eye(window.stop - window.start), ((EDGE_PADDING, EDGE_PADDING), (0, 0)), mode="edge")
    if order > 1:
        coefficients = spline_filter1d(coefficients, order, axis=0, mode="nearest")
    matrix = np.zeros((len(first), window.stop - window.start))
    for tap in range(order + 1):
        weights = _b_spline(coordinates - (first + tap), order)
        matrix += weights[:, None] * coefficients[first + tap - window.start + EDGE_PADDING]
    return window, matrix


def _b_spline(x: Doubles, order: int) -> Doubles:
    """Evaluate the centred B-spline of an order ≥ 1; for order 0 the single sample has weight 1."""
    if order == 0:
        return np.ones_like(x)
    value: Doubles = np.zeros_like(x)
    for k in range(order + 2):
        value += (-1) ** k * comb(order + 1, k) * np.maximum(x + (order + 1) / 2 - k, 0) ** order
    value /= factorial(order)
    return value


def sample_coordinates(size: int, new_size: int) -> Doubles:
    """Return the centres of ``new_size`` output voxels on an axis of ``size`` input voxels, in input voxels."""
    coordinates: Doubles = (np.arange(new_size, dtype=np.float64) + 0.5) * (size / new_size) - 0.5
    return coordinates


def nearest_indices(size: int, new_size: int) -> Indices:
    """Return the input voxel nearest to each output voxel; at a tie the upper one, as in scipy.ndimage."""
    indices = np.floor(sample_coordinates(size, new_size) + 0.5).astype(np.intp)
    return np.clip(indices, 0, size - 1)


def check_order(order: int, *, highest: int = MAX_ORDER) -> None:
    """Raise :class:`PlanError` unless ``order`` is a spline order from 0 to ``highest``."""
    if order not in range(highest + 1):
        raise PlanError(f"resampling order: found {order}, expected 0 to {highest}; change it in the plan")
