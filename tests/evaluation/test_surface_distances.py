"""Surface distances held against every pair of points, and against SimpleITK."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist

from autoseg.evaluation import surface
from autoseg.evaluation.surface import surface_distances, surface_voxels, surfaces

SPACING = (2.5, 0.8, 1.1)

seeds = st.integers(0, 2**32 - 1)
shares = st.sampled_from([0.02, 0.3, 0.7])
quick = settings(max_examples=40)


def ball(centre, radius, shape=(24, 30, 26)):
    grid = np.ogrid[tuple(slice(length) for length in shape)]
    return sum((axis - middle) ** 2 for axis, middle in zip(grid, centre, strict=True)) < radius**2


def noise(seed, share, shape=(6, 9, 8)):
    mask = np.random.default_rng(seed).random(shape) < share
    mask[0, 0, 0] = True
    return mask


def between(prediction, reference):
    voxels = [surfaces(mask)[1] for mask in (prediction, reference)]
    return surface_distances(*voxels, shape=prediction.shape, spacing=SPACING)


def all_pairs(start, goal):
    points = [np.argwhere(surface_voxels(mask)) * SPACING for mask in (start, goal)]
    return cdist(*points).min(axis=1)


def check_against_all_pairs(one, other):
    distances = between(one, other)
    forward, back = all_pairs(one, other), all_pairs(other, one)
    assert np.allclose(np.sort(distances.from_prediction), np.sort(forward))
    assert np.allclose(np.sort(distances.from_reference), np.sort(back))
    assert distances.hausdorff() == pytest.approx(max(np.percentile(forward, 95), np.percentile(back, 95)))
    assert distances.average() == pytest.approx((forward.sum() + back.sum()) / (len(forward) + len(back)))


@given(seeds, seeds, shares, shares)
@quick
def test_distances_equal_those_of_all_pairs(one_seed, other_seed, one_share, other_share):
    check_against_all_pairs(noise(one_seed, one_share), noise(other_seed, other_share))


@pytest.mark.parametrize("search_cost", [0, 10**9], ids=["tree", "transform"])
def test_both_ways_to_measure_agree_with_all_pairs(monkeypatch, search_cost):
    monkeypatch.setattr(surface, "TREE_SEARCH_COST", search_cost)
    check_against_all_pairs(ball((10, 12, 11), 8), ball((13, 14, 12), 6))


def test_the_hundredth_percentile_is_the_hausdorff_distance_of_simpleitk():
    masks = [ball((10, 12, 11), 8), ball((13, 14, 12), 6)]
    # SimpleITK measures between all voxels of the masks, so it gets the surfaces.
    images = [sitk.GetImageFromArray(surface_voxels(mask).astype(np.uint8)) for mask in masks]
    for image in images:
        image.SetSpacing(SPACING[::-1])
    hausdorff = sitk.HausdorffDistanceImageFilter()
    hausdorff.Execute(*images)
    distances = between(*masks)
    assert distances.hausdorff(100) == pytest.approx(hausdorff.GetHausdorffDistance(), rel=1e-5)


@given(seeds, shares)
@quick
def test_the_surface_is_what_erosion_takes(seed, share):
    mask = noise(seed, share)
    assert np.array_equal(surface_voxels(mask), mask & ~binary_erosion(mask))


@given(seeds)
@quick
def test_the_surfaces_of_a_label_map_are_those_of_its_masks(seed):
    labels = np.random.default_rng(seed).integers(0, 4, (5, 6, 7))
    found = surfaces(labels)
    assert sorted(found) == [1, 2, 3]
    for value, voxels in found.items():
        assert np.array_equal(voxels, np.flatnonzero(surface_voxels(labels == value)))


def test_the_surface_of_a_slice_may_be_looked_for_in_its_plane():
    mask = np.ones((1, 4, 5), dtype=bool)
    assert surface_voxels(mask).sum() == 20
    assert surface_voxels(mask, axes=(1, 2)).sum() == 14
