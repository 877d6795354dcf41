"""Resampling of images, label maps and class scores to another shape, axis by axis."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from autoseg.errors import PlanError, WeightsError
from autoseg.preprocessing.label_vote import resample_label_slab
from autoseg.preprocessing.spline import ROWS_PER_BAND, Band, Floats, axis_bands, check_order, resample_axes

Shape = tuple[int, int, int]

ANISOTROPY_THRESHOLD = 3.0
"""Ratio of the largest to the smallest spacing above which the coarse axis is resampled separately (nnU-Net)."""

SAME_SPACING = 1e-3
"""Relative difference below which two spacings are equal, because file headers round them."""


def separate_axis(
    spacing_from: Sequence[float], spacing_to: Sequence[float], *, threshold: float = ANISOTROPY_THRESHOLD
) -> int | None:
    """Return the axis to resample separately because its spacing is much coarser, or None.

    nnU-Net's rule (Isensee et al., Nature Methods 18, 2021): the image's spacing decides if it is anisotropic,
    otherwise the target spacing decides. If two axes share the largest spacing, the result is None. Spacings in mm.
    """
    for spacing in (spacing_from, spacing_to):
        longest = max(spacing)
        if longest / min(spacing) > threshold:
            coarse = [axis for axis, size in enumerate(spacing) if math.isclose(size, longest, rel_tol=SAME_SPACING)]
            return coarse[0] if len(coarse) == 1 else None
    return None


def resample_image(
    array: npt.NDArray[np.floating],
    shape: Shape,
    *,
    order: int = 3,
    separate_axis: int | None = None,
    separate_order: int = 0,
) -> Floats:
    """Resample an image [C,Z,Y,X] to ``shape`` (z,y,x) with splines of ``order``; returns float32.

    Equal, up to the rounding of float32, to ``skimage.transform.resize(order=order, mode="edge", anti_aliasing=False)``
    of each channel, clipped to the channel's range. With a ``separate_axis``, each slice across it is resized and
    clipped separately, then the axis is resampled with ``separate_order``, as nnU-Net does for anisotropic images.
    Besides input and output, memory contains at most three volumes of one channel. Raises :class:`PlanError` for an
    order outside 0…5 or an empty ``shape``.
    """
    _check_shape(shape)
    check_order(order)
    check_order(separate_order)
    resampled = np.empty((len(array), *shape), dtype=np.float32)
    for channel, out in zip(array, resampled, strict=True):
        volume = np.ascontiguousarray(channel, dtype=np.float32)
        if separate_axis is None:
            _resample_clipped(volume, out, orders=(order, order, order), across=(0, 1, 2))
        else:
            _resample_slices(volume, out, axis=separate_axis, order=order, separate_order=separate_order)
    return resampled


def _resample_slices(volume: Floats, out: Floats, *, axis: int, order: int, separate_order: int) -> None:
    orders = [separate_order if other == axis else order for other in range(3)]
    size = out.shape[axis]
    if separate_order == 0 and size < volume.shape[axis]:
        # Slices that the result does not contain need not be resized.
        fewer = np.empty((*volume.shape[:axis], size, *volume.shape[axis + 1 :]), dtype=np.float32)
        resample_axes(volume, fewer, orders=orders)
        volume = fewer
    across = tuple(other for other in range(3) if other != axis)
    if volume.shape[axis] == size:
        _resample_clipped(volume, out, orders=orders, across=across)
        return
    slices = np.empty((*out.shape[:axis], volume.shape[axis], *out.shape[axis + 1 :]), dtype=np.float32)
    _resample_clipped(volume, slices, orders=orders, across=across)
    resample_axes(slices, out, orders=orders)


def _resample_clipped(volume: Floats, out: Floats, *, orders: Sequence[int], across: tuple[int, ...]) -> None:
    """Resample into ``out`` and clip to the input's range over the axes ``across``."""
    low, high = volume.min(axis=across, keepdims=True), volume.max(axis=across, keepdims=True)
    resample_axes(volume, out, orders=orders)
    np.clip(out, low, high, out=out)


def resample_labels(
    labels: npt.NDArray[np.integer], shape: Shape, *, order: int = 1, separate_axis: int | None = None
) -> npt.NDArray[np.integer]:
    """Resample a label map [Z,Y,X] to ``shape``: resample each label's mask linearly, then use the largest value.

    ``order`` 0 uses the nearest voxel instead; along a ``separate_axis`` the nearest voxel is always used. At equal
    values, the lowest label wins. nnU-Net instead uses the last label with a value of at least 0.5, and background if
    no label reaches 0.5, which leaves gaps where three labels meet. The time does not depend on the number of labels.
    Besides input and output, memory contains one slab. Raises :class:`PlanError` for another order or an empty
    ``shape``.
    """
    _check_shape(shape)
    check_order(order, highest=1)
    resampled = np.empty(shape, dtype=labels.dtype)
    orders = [0 if axis == separate_axis else order for axis in range(3)]
    for start in range(0, shape[0], ROWS_PER_BAND):
        rows = slice(start, min(start + ROWS_PER_BAND, shape[0]))
        resampled[rows] = resample_label_slab(labels, shape, rows=rows, orders=orders)
    return resampled


def argmax_resampled(
    scores: npt.NDArray[np.floating], shape: Shape, *, separate_axis: int | None = None
) -> npt.NDArray[np.unsignedinteger]:
    """Resample class scores [C,z,y,x] linearly to ``shape``; return the class with the largest score, uint8 or uint16.

    Scores are logits or probabilities. Along a ``separate_axis``, the nearest slice is used. One class of one slab is
    resampled at a time and compared with a running maximum. So, besides scores and result, memory contains a few slabs,
    independent of the number of classes. At equal scores, the lowest class wins. Raises :class:`WeightsError` if scores
    are not finite, which happens after a diverged training.
    """
    _check_shape(shape)
    winners = np.zeros(shape, dtype=np.uint8 if len(scores) <= np.iinfo(np.uint8).max + 1 else np.uint16)
    orders = [0 if axis == separate_axis else 1 for axis in range(3)]
    for band in axis_bands(scores.shape[1], shape[0], orders[0]):
        _argmax_slab(scores, winners[band.rows], band=band, orders=orders)
    return winners


def _argmax_slab(
    scores: npt.NDArray[np.floating],
    winners: npt.NDArray[np.unsignedinteger],
    *,
    band: Band,
    orders: Sequence[int],
) -> None:
    best = np.full(winners.shape, -np.inf, dtype=np.float32)
    value = np.empty(winners.shape, dtype=np.float32)
    plane = np.empty((band.weights.shape[1], *winners.shape[1:]), dtype=np.float32)
    for index, score in enumerate(scores):
        resample_axes(np.ascontiguousarray(score[band.columns], dtype=np.float32), plane, orders=orders)
        np.matmul(band.weights, plane.reshape(len(plane), -1), out=value.reshape(len(value), -1))
        if not np.isfinite(value.sum()):
            raise WeightsError(f"scores of class {index}: found NaN or infinity, expected finite numbers; train again")
        np.copyto(winners, index, where=value > best, casting="unsafe")
        np.maximum(best, value, out=best)


def _check_shape(shape: Shape) -> None:
    if len(shape) != 3 or min(shape) < 1:
        raise PlanError(
            f"resampling: found shape {tuple(shape)}, expected three lengths of at least 1; check the spacing"
        )
