"""Target spacing and the order of axes (nnU-Net's rules)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from autoseg.fingerprint import Fingerprint

ANISOTROPY = 3.0
"""An axis is coarse where its spacing is more than this many times that of the others (nnU-Net)."""
SPACING_STEP = 1.03
"""Factor by which a resolution is lowered, step by step (nnU-Net)."""
MOST_UNEVEN = 2.0
"""While one axis is coarser than others by more than this factor, only the others are lowered (nnU-Net)."""
COARSE_PERCENTILE = 10
"""Percentile of a coarse axis' spacings that becomes the target: the median would throw away the finer cases."""


def target_spacing(fingerprint: Fingerprint) -> tuple[float, float, float]:
    """Return the median spacing of each axis (z, y, x) of the files, a coarse axis' 10th percentile instead.

    An axis is coarse where its spacing is more than 3× the others' and its voxels are fewer than a third of theirs; its
    target is never finer than the other axes.
    """
    spacing = np.median(fingerprint.spacings, axis=0)
    shape = np.median(fingerprint.cropped_shapes, axis=0)
    worst = int(np.argmax(spacing))
    others = [axis for axis in range(3) if axis != worst]
    is_coarse = spacing[worst] > ANISOTROPY * spacing[others].max()
    has_few_voxels = shape[worst] * ANISOTROPY < shape[others].min()
    if is_coarse and has_few_voxels:
        percentile = np.percentile(fingerprint.spacings[:, worst], COARSE_PERCENTILE)
        spacing[worst] = max(percentile, spacing[others].max() + 1e-5)
    return float(spacing[0]), float(spacing[1]), float(spacing[2])


def coarser(spacing: tuple[float, float, float]) -> Iterator[tuple[float, float, float]]:
    """Yield ever coarser spacings, the finer axes first until none is more than twice as fine as the coarsest."""
    current = np.array(spacing)
    while True:
        finer = current.max() / current > MOST_UNEVEN
        current = np.where(finer if finer.any() else True, current * SPACING_STEP, current)
        yield float(current[0]), float(current[1]), float(current[2])


def axis_order(fingerprint: Fingerprint, spacing: tuple[float, float, float]) -> tuple[int, int, int]:
    """Put the coarsest axis first, the others keeping their order; z stays first among equals.

    An axis that is one voxel long in every case is that of the slices, whatever spacing the file gives it.
    """
    flat = (fingerprint.shapes == 1).all(axis=0)
    first = int(np.argmax(flat)) if flat.any() else int(np.argmax(spacing))
    z, y, x = (first, *(axis for axis in range(3) if axis != first))
    return z, y, x


def median_shape(
    fingerprint: Fingerprint, spacing: tuple[float | None, ...], order: tuple[int, int, int]
) -> tuple[int, int, int]:
    """Median over cases of the shape at ``spacing``, both in the order of axes after transposition."""
    old = fingerprint.spacings[:, order]
    new = np.where([s is None for s in spacing], old, [s or 1.0 for s in spacing])
    shapes = np.round(fingerprint.cropped_shapes[:, order] * old / new)
    z, y, x = (max(1, int(np.ceil(n))) for n in np.median(shapes, axis=0))
    return z, y, x
