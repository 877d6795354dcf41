"""The normalized surface distance held against areas and shares worked out by hand, and its authors' figures."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from autoseg.evaluation.surface_elements import _areas, _elements, normalized_surface_distance

SPACING = (3.0, 2.0, 1.0)

quick = settings(max_examples=30)
seeds = st.integers(0, 2**32 - 1)
tolerances = st.sampled_from([0.0, 1.0, 2.0, 3.5])


def noise(seed, share=0.3, shape=(5, 6, 7)):
    mask = np.random.default_rng(seed).random(shape) < share
    mask[0, 0, 0] = True
    return mask


def voxel(*place, shape=(8, 8, 8)):
    mask = np.zeros(shape, dtype=bool)
    mask[place] = True
    return mask


def nsd(one, other, tolerance=1.0, spacing=SPACING, axes=(0, 1, 2)):
    return normalized_surface_distance(one, other, spacing=spacing, tolerance=tolerance, axes=axes)


def test_figures_of_the_authors_package():
    # google-deepmind/surface-distance, surface_distance_test.py: these pairs have 0.5 and 0.836.
    assert nsd(voxel(4, 4, 4), voxel(4, 4, 6)) == 0.5
    one, other = np.zeros((2, 100, 100, 100), dtype=bool)
    one[:50], other[:51] = True, True
    assert nsd(one, other, spacing=(2, 1, 1)) == pytest.approx(0.836, abs=5e-4)


def test_squares_in_a_slice_are_measured_along_their_contours():
    one, other = np.zeros((2, 6, 6, 1), dtype=bool)
    one[1:3, 1:3], other[1:4, 1:3] = True, True
    corner, tall, wide = math.hypot(2, 1) / 2, 2, 1
    around = 4 * corner + 2 * tall + 2 * wide
    # Of the first, the lower side is 1 mm from the second; of this the lower side is 2 mm away, with its corners.
    far = 2 * corner + wide
    share = nsd(one, other, tolerance=1, spacing=(2, 1, 999), axes=(0, 1))
    assert share == pytest.approx((2 * around + 2 * tall - far) / (2 * around + 2 * tall))


def test_the_area_of_a_block_is_that_of_its_faces_with_the_edges_cut():
    sides = (4, 3, 5)
    _, areas = _elements(np.pad(np.ones(sides, dtype=np.uint8), 1), SPACING)
    z, y, x = SPACING
    steps = [length - 1 for length in sides]
    faces = 2 * (steps[0] * steps[1] * z * y + steps[0] * steps[2] * z * x + steps[1] * steps[2] * y * x)
    edges = 4 * (
        steps[0] * z * math.hypot(y, x) / 2 + steps[1] * y * math.hypot(z, x) / 2 + steps[2] * x * math.hypot(z, y) / 2
    )
    corners = 8 * math.sqrt((z * y) ** 2 + (z * x) ** 2 + (y * x) ** 2) / 8
    assert areas.sum() == pytest.approx(faces + edges + corners)


def test_a_surface_has_one_area_from_both_sides():
    assert np.allclose(_areas(SPACING), _areas(SPACING)[::-1])


@given(seeds, seeds, tolerances)
@quick
def test_shares_equal_those_of_all_pairs_of_elements(one, other, tolerance):
    masks = noise(one), noise(other)
    places, areas = [], []
    for mask in masks:
        corners, area = _elements(np.pad(mask.view(np.uint8), 1), SPACING)
        places.append(np.argwhere(np.ones([n + 1 for n in mask.shape]))[corners] * SPACING)
        areas.append(area)
    apart = cdist(*places)
    near = areas[0][apart.min(axis=1) <= tolerance].sum() + areas[1][apart.min(axis=0) <= tolerance].sum()
    assert nsd(*masks, tolerance=tolerance) == pytest.approx(near / sum(area.sum() for area in areas))


@given(seeds, seeds, tolerances)
@quick
def test_it_is_symmetric_and_grows_with_the_tolerance(one, other, tolerance):
    one, other = noise(one), noise(other)
    share = nsd(one, other, tolerance)
    assert share == pytest.approx(nsd(other, one, tolerance))
    assert 0 <= share <= nsd(one, other, tolerance + 1) <= 1
    assert nsd(one, other, 1000) == nsd(one, one, 0) == 1


@given(seeds, seeds, st.lists(st.integers(0, 3), min_size=6, max_size=6))
@quick
def test_padding_changes_nothing(one, other, widths):
    masks = noise(one), noise(other)
    width = list(zip(widths[::2], widths[1::2], strict=True))
    padded = (np.pad(mask, width) for mask in masks)
    assert nsd(*padded) == pytest.approx(nsd(*masks))


@given(seeds, seeds, st.sampled_from([0.1, 0.7, 1.1, 25.4]))
@quick
def test_a_change_of_units_changes_nothing(one, other, factor):
    masks = noise(one), noise(other)
    scaled = nsd(*masks, tolerance=2 * factor, spacing=tuple(length * factor for length in SPACING))
    # Areas come from vertices in 32 bits.
    assert scaled == pytest.approx(nsd(*masks, tolerance=2), abs=1e-5)


@given(seeds, seeds, st.sampled_from([(0,), (1,), (2,), (0, 1), (0, 1, 2)]))
@quick
def test_flips_change_nothing_but_how_elements_are_cut_into_triangles(one, other, axes):
    masks = noise(one), noise(other)
    flipped = (np.flip(mask, axes) for mask in masks)
    assert nsd(*flipped) == pytest.approx(nsd(*masks), abs=0.01)


def test_spacings_that_a_header_rounds_do_not_matter():
    spacing = tuple(float(np.float32(length)) for length in (1.0, 1.0, 1.1))
    assert spacing[2] > 1.1
    assert nsd(voxel(4, 4, 4), voxel(4, 4, 5), tolerance=1.1, spacing=spacing) == 1
