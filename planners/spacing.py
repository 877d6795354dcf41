"""Target spacing and the order of axes (nnU-Net's rules)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from autoseg.fingerprint.record import Fingerprint

ANISOTROPY = 3.0
"""An axis is coarse if its spacing is more than this many times that of the others (nnU-Net)."""
SPACING_STEP = 1.03
"""Factor of the spacing in each step to a lower resolution (nnU-Net)."""
MOST_UNEVEN = 2.0
"""If one axis is coarser than others by more than this factor, only the other axes are coarsened (nnU-Net)."""
COARSE_PERCENTILE = 10
"""Percentile of a coarse axis' spacings for the target spacing: the median would lose detail of finer cases."""


def target_spacing(fingerprint: Fingerprint) -> tuple[float, float, float]:
    """Return the median spacing of each axis (z, y, x) of the files, in mm; for a coarse axis the 10th percentile.

    An axis is coarse if its spacing is more than 3× that of the others, and it has less than a third of their voxels.
    Its target is never finer than the other axes.
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
    """Yield coarser and coarser spacings; the finer axes first, until all are within a factor of 2 of the coarsest."""
    current = np.array(spacing)
    while True:
        finer = current.max() / current > MOST_UNEVEN
        current = np.where(finer if finer.any() else True, current * SPACING_STEP, current)
        yield float(current[0]), float(current[1]), float(current[2])


def axis_order(fingerprint: Fingerprint, spacing: tuple[float, float, float]) -> tuple[int, int, int]:
    """Return the order of axes with the coarsest axis first; the others keep their order. On ties, z stays first.

    An axis with one voxel in every case is the slice axis, regardless of its spacing in the file.
    """
    flat = (fingerprint.shapes == 1).all(axis=0)
    first = int(np.argmax(flat)) if flat.any() else int(np.argmax(spacing))
    z, y, x = (first, *(axis for axis in range(3) if axis != first))
    return z, y, x


def median_shape(
    fingerprint: Fingerprint, spacing: tuple[float | None, ...], order: tuple[int, int, int]
) -> tuple[int, int, int]:
    """Return the median shape over cases at ``spacing``, both in the axis order after transposition."""
    old = fingerprint.spacings[:, order]
    new = np.where([s is None for s in spacing], old, [s or 1.0 for s in spacing])
    shapes = np.round(fingerprint.cropped_shapes[:, order] * old / new)
    z, y, x = (max(1, int(np.ceil(n))) for n in np.median(shapes, axis=0))
    return z, y, x
