"""How much of two surfaces lies within a tolerance of each other, by area (Nikolov et al., arXiv 1809.04430, 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from autoseg.evaluation.surface import Distances, Indices, Mask, surface_distances

CORNERS = 8
SLACK = 1e-6
"""Share by which a distance may exceed the tolerance: headers hold spacings in 32 bits, 1.1 as 1.10000002."""

TINY = 1e-9
"""Millimetres beyond a tolerance of 0, within which surfaces that coincide lie."""


def normalized_surface_distance(
    prediction: Mask,
    reference: Mask,
    *,
    spacing: Sequence[float],
    tolerance: float,
    axes: Sequence[int] = (0, 1, 2),
) -> float:
    """Return the share of the surfaces of two masks [Z,Y,X], neither empty, that lies within ``tolerance`` mm.

    A surface element lies wherever the eight voxels around a corner of the grid are not all alike, and has the area in
    mm² that marching cubes gives it, as in the authors' own package. Outside of the arrays is background; across those
    that are not of ``axes`` there is no surface, so that an image of one slice is measured along its contours.
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
    """Repeat the one slice along an axis without surfaces: areas are then lengths of contours times one thickness."""
    for axis in range(3):
        if axis not in axes:
            mask = np.repeat(mask, 2, axis=axis)
    return mask


def _elements(mask: npt.NDArray[np.uint8], spacing: tuple[float, ...]) -> tuple[Indices, Distances]:
    """Return the corners of a padded mask that bear surface, as flat indices, and the area of each."""
    code: npt.NDArray[Any] = mask
    for axis, bits in ((2, 1), (1, 2), (0, 4)):
        along = np.moveaxis(code, axis, 0)
        code = np.moveaxis(along[:-1] << bits | along[1:], 0, axis)
    code = np.ascontiguousarray(code).ravel()
    # Neither 0 nor 255: the eight voxels are not alike. Below zero, bytes go round.
    corners = np.flatnonzero(code - np.uint8(1) < 2**CORNERS - 2)
    return corners, _areas(spacing)[code[corners]]


@lru_cache(maxsize=64)
def _areas(spacing: tuple[float, ...]) -> Distances:
    """Return the area of the surface within a cell for each pattern of its corners; the first is the highest bit."""
    from skimage.measure import marching_cubes, mesh_surface_area

    areas = np.zeros(2**CORNERS)
    for code in range(1, 2**CORNERS - 1):
        bits = np.array([code >> (CORNERS - 1 - corner) & 1 for corner in range(CORNERS)])
        if bits.sum() > CORNERS // 2:
            # The surface belongs to both sides. Marching cubes would cut ambiguous faces one way or the other.
            bits = 1 - bits
        vertices, faces, *_ = marching_cubes(
            bits.reshape(2, 2, 2).astype(np.float32), 0.5, spacing=spacing, method="lorensen"
        )
        areas[code] = mesh_surface_area(vertices, faces)
    return areas
