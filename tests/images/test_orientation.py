from __future__ import annotations

import itertools

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from autoseg.images.orientation import (
    Reorientation,
    common_orientation,
    direction_of,
    is_orientation,
    orientation_of,
    reorientation_between,
    tilt_of,
)

ORIENTATIONS = [
    "".join(letters) for axes in itertools.permutations(("LR", "AP", "IS")) for letters in itertools.product(*axes)
]


def test_all_48_orientations_have_a_name_and_a_direction():
    assert len(ORIENTATIONS) == 48
    for name in ORIENTATIONS:
        assert is_orientation(name)
        assert orientation_of(direction_of(name)) == name
        assert tilt_of(direction_of(name)) == 0
    assert not any(is_orientation(text) for text in ("LPL", "spl", "SP", "SPLL", "XYZ", ""))


@pytest.mark.parametrize("wanted", ["SPL", "SAR", "PIR", "LAS"])
@pytest.mark.parametrize("orientation", ["SPL", "SAR", "ASR", "ILA", "LPS"])
def test_turns_are_those_of_simpleitk(orientation, wanted):
    array = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    image = sitk.GetImageFromArray(array)
    image.SetDirection(direction_of(orientation))
    assert sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(image.GetDirection()) == orientation[::-1]
    expected = sitk.GetArrayFromImage(sitk.DICOMOrient(image, wanted[::-1]))
    assert np.array_equal(reorientation_between(orientation, wanted).apply(array), expected)


@given(st.sampled_from(ORIENTATIONS), st.sampled_from(ORIENTATIONS), st.permutations(range(3)))
def test_a_turn_can_be_undone_whatever_follows_it(orientation, wanted, order):
    array = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    reorientation = reorientation_between(orientation, wanted)
    whole = reorientation.then(tuple(order))
    assert np.array_equal(whole.undo(whole.apply(array)), array)
    assert np.array_equal(whole.apply(array[0]), reorientation.apply(array[0]).transpose(order))


@settings(max_examples=100)
@given(st.integers(0, 2**32 - 1), st.sampled_from(ORIENTATIONS))
def test_oblique_images_have_the_orientation_of_the_nearest_axes(seed, name):
    angles = np.random.default_rng(seed).uniform(-20, 20, 3)
    direction = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ np.reshape(direction_of(name), (3, 3))
    assert orientation_of(direction.ravel()) == name
    assert tilt_of(direction.ravel()) <= np.abs(angles).sum() + 1e-6


def test_flat_images_turn_in_their_plane():
    assert orientation_of((-1.0, 0.0, 0.0, 1.0)) == "SPR"
    turned = reorientation_between("SPR", "SPL").apply(np.arange(20).reshape(1, 4, 5))
    assert np.array_equal(turned, np.arange(20).reshape(1, 4, 5)[:, :, ::-1])


def test_the_commonest_orientation_is_the_datasets():
    assert common_orientation(["SPL", "SAR", "SAR"], [0, 0, 5]) == "SAR"
    assert common_orientation(["SPL", "SAR"], [0, 0]) == "SAR", "a tie is decided by name"
    assert common_orientation(["SPL", "SPL"], [44, 44]) == "SPL", "all agree, however oblique"
    assert common_orientation(["SPL", "IPL"], [44, 3]) is None, "chance chose the nearest axes"
    assert common_orientation(["SPL", ""], [0, 0]) is None, "measured before orientations were told"
    assert common_orientation([], []) is None


def test_nothing_to_turn_costs_no_copy():
    array = np.zeros((2, 3, 4, 5))
    assert Reorientation().apply(array).base is array
    assert np.shares_memory(reorientation_between("SAR", "SPL").apply(array), array)
