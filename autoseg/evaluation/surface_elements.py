"""Normalized surface distance: share of surface area within a tolerance (Nikolov et al., arXiv 1809.04430, 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from autoseg.evaluation.surface import Distances, Indices, Mask, surface_distances

CORNERS = 8
SLACK = 1e-6
"""Relative slack of the tolerance, because file headers store spacings in 32 bits: 1.1 becomes 1.10000002."""

TINY = 1e-9
"""Absolute slack in mm, so that a tolerance of 0 accepts surfaces that coincide."""


def normalized_surface_distance(
    prediction: Mask,
    reference: Mask,
    *,
    spacing: Sequence[float],
    tolerance: float,
    axes: Sequence[int] = (0, 1, 2),
) -> float:
    """Return the share of both surfaces that is within ``tolerance`` mm of the other; masks [Z,Y,X] must be nonempty.

    A grid corner is a surface element if its eight surrounding voxels are not all equal. Its area in mm² is that of
    marching cubes, as in the package of the authors. Voxels outside of the arrays are background. There is no surface
    across an axis that is not in ``axes``, so that a single slice is measured along its contours.
    """
    pad = [(1, 1) if axis in axes else (0, 0) for axis in range(3)]
    step = tuple(float(length) for length in spacing)
    (first, first_areas), (second, second_areas) = (
        _elements(_thickened(np.pad(mask.view(np.uint8), pad), axes), step) for mask in (prediction, reference)
    )
    shape = [length + (1 if axis in axes else 0) for axis, length in enumerate(prediction.shape)]
    beyond = tolerance * (1 + SLACK) + TINY
    distances = surface_distances(first, second, shape=shape, spacing=spacing, limit=beyond)
    within = first_areas[distances.from_prediction < beyond].sum()
    within += second_areas[distances.from_reference < beyond].sum()
    return float(within / (first_areas.sum() + second_areas.sum()))


def _thickened(mask: npt.NDArray[np.uint8], axes: Sequence[int]) -> npt.NDArray[np.uint8]:
    """Repeat the single slice along an axis without surfaces: areas become contour lengths times the thickness."""
    for axis in range(3):
        if axis not in axes:
            mask = np.repeat(mask, 2, axis=axis)
    return mask


def _elements(mask: npt.NDArray[np.uint8], spacing: tuple[float, ...]) -> tuple[Indices, Distances]:
    """Return the surface elements of a padded mask as flat indices of grid corners, and the area of each."""
    code: npt.NDArray[Any] = mask
    for axis, bits in ((2, 1), (1, 2), (0, 4)):
        along = np.moveaxis(code, axis, 0)
        code = np.moveaxis(along[:-1] << bits | along[1:], 0, axis)
    code = np.ascontiguousarray(code).ravel()
    # Select codes that are neither 0 nor 255: the eight voxels differ. For code 0, the uint8 subtraction wraps to 255.
    corners = np.flatnonzero(code - np.uint8(1) < 2**CORNERS - 2)
    return corners, _areas(spacing)[code[corners]]


@lru_cache(maxsize=64)
def _areas(spacing: tuple[float, ...]) -> Distances:
    """Return the surface area in a cell for each pattern of its eight corners; the first corner is the highest bit."""
    from skimage.measure import marching_cubes, mesh_surface_area

    areas = np.zeros(2**CORNERS)
    for code in range(1, 2**CORNERS - 1):
        bits = np.array([code >> (CORNERS - 1 - corner) & 1 for corner in range(CORNERS)])
        if bits.sum() > CORNERS // 2:
            # A pattern and its complement must have the same area; marching cubes resolves ambiguous faces differently.
            bits = 1 - bits
        vertices, faces, *_ = marching_cubes(
            bits.reshape(2, 2, 2).astype(np.float32), 0.5, spacing=spacing, method="lorensen"
        )
        areas[code] = mesh_surface_area(vertices, faces)
    return areas
