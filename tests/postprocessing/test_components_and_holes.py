from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from skimage.morphology import remove_small_objects

from autoseg.data.dataset import Dataset
from autoseg.errors import PlanError
from autoseg.postprocessing import apply_steps, build_steps
from autoseg.postprocessing.target import bounding_box

PLAIN = Dataset("made", ("CT",), {"background": 0, "a": 1, "b": 2}, ".nii.gz", ())
REGIONS = Dataset(
    "made",
    ("MR",),
    {},
    ".nii.gz",
    (),
    regions={"whole": (1, 2, 3), "core": (1, 3), "enhancing": (3,)},
    region_order=(2, 1, 3),
)
CORNERS = np.ones((3, 3, 3))
LABELS = arrays(np.uint8, (4, 5, 6), elements=st.sampled_from([0, 0, 1, 2]))
SPARSE = arrays(np.uint8, (4, 5, 6), elements=st.sampled_from([0, 0, 0, 0, 1, 2]))


def applied(labels, *specs, dataset=PLAIN, spacing=(2.0, 1.0, 0.5)):
    before = labels.copy()
    result = apply_steps(build_steps(specs, dataset), SimpleNamespace(spacing=spacing), labels)
    assert np.array_equal(labels, before) and result.dtype == labels.dtype
    return result


@given(SPARSE)
def test_the_largest_component_is_that_of_scipy(labels):
    numbers, count = ndimage.label(labels == 1, CORNERS)
    sizes = ndimage.sum_labels(labels == 1, numbers, range(1, count + 1))
    largest = [number for number, size in enumerate(sizes, start=1) if size == sizes.max()]
    expected = np.where((labels == 1) & ~np.isin(numbers, largest), 0, labels)
    assert np.array_equal(applied(labels, {"name": "largest_component", "of": "a"}), expected)


@given(SPARSE)
def test_all_of_the_foreground_is_one_structure(labels):
    result = applied(labels, {"name": "largest_component"})
    expected = applied((labels > 0).astype(np.uint8), {"name": "largest_component", "of": "a"})
    assert np.array_equal(result, labels * expected)


@given(SPARSE, st.integers(1, 12))
def test_small_components_are_those_of_skimage(labels, fewest):
    kept = remove_small_objects(labels == 2, max_size=fewest - 1, connectivity=3)
    expected = np.where((labels == 2) & ~kept, 0, labels)
    # A voxel has 1 mm³.
    assert np.array_equal(applied(labels, {"name": "remove_small", "of": "b", "mm3": float(fewest)}), expected)


def test_a_volume_counts_in_millimetres():
    labels = np.zeros((3, 3, 3), np.uint8)
    labels[0, 0, :2] = 1
    spec = {"name": "remove_small", "of": "a", "mm3": 3.0}
    assert applied(labels, spec, spacing=(2, 1, 1)).any() and not applied(labels, spec, spacing=(1, 1, 1)).any()


@given(LABELS)
def test_holes_are_those_of_scipy_without_other_classes(labels):
    filled = ndimage.binary_fill_holes(labels == 1)
    expected = np.where(filled & (labels == 0), 1, labels)
    assert np.array_equal(applied(labels, {"name": "fill_holes", "of": "a"}), expected)


@given(arrays(np.uint8, (1, 6, 7), elements=st.sampled_from([0, 1, 1])))
def test_holes_of_a_single_slice_are_those_of_a_picture(labels):
    expected = ndimage.binary_fill_holes(labels[0] == 1)
    assert np.array_equal(applied(labels, {"name": "fill_holes", "of": "a"})[0] == 1, expected)


@given(LABELS, st.sampled_from([{"name": "largest_component", "of": "a"}, {"name": "fill_holes", "of": "a"}]))
def test_doing_it_twice_changes_nothing_more(labels, spec):
    once = applied(labels, spec)
    assert np.array_equal(applied(once, spec), once)


def test_a_piece_of_a_region_becomes_what_is_around_it():
    labels = np.zeros((1, 5, 9), np.uint8)
    labels[0, 1:4, :] = 2
    labels[0, 2, 1:4], labels[0, 2, 2], labels[0, 2, 7] = 1, 3, 3
    result = applied(labels, {"name": "largest_component", "of": "core"}, dataset=REGIONS)
    assert result[0, 2, 7] == 2 and np.array_equal(result[0, 2, :7], labels[0, 2, :7])
    result = applied(
        labels, {"name": "remove_small", "of": "enhancing", "mm3": 2.0}, dataset=REGIONS, spacing=(1, 1, 1)
    )
    assert result[0, 2, 2] == 1 and not (result == 3).any()


def test_removing_a_region_removes_what_lies_in_it():
    labels = np.zeros((1, 3, 9), np.uint8)
    labels[0, :, :5], labels[0, 1, 8] = 2, 3
    result = applied(labels, {"name": "largest_component", "of": "whole"}, dataset=REGIONS)
    assert not result[0, 1, 8] and np.array_equal(result[..., :8], labels[..., :8])


@given(arrays(np.uint8, (2, 4, 4), elements=st.integers(0, 3)), st.sampled_from(list(REGIONS.regions)))
def test_removing_pieces_of_a_region_never_adds_to_it(labels, name):
    values = REGIONS.regions[name]
    result = applied(labels, {"name": "remove_small", "of": name, "mm3": 3.0}, dataset=REGIONS)
    assert not (np.isin(result, values) & ~np.isin(labels, values)).any()


@given(arrays(np.bool_, (3, 4, 5)))
def test_the_bounding_box_is_that_of_scipy(mask):
    (expected,) = ndimage.find_objects(mask.astype(np.uint8)) or [None]
    assert bounding_box(mask) == expected


def test_nothing_to_do_copies_nothing():
    empty = np.zeros((2, 3, 4), np.uint8)
    specs = ({"name": "largest_component", "of": "a"}, {"name": "fill_holes", "of": "b"})
    assert apply_steps(build_steps(specs, PLAIN), SimpleNamespace(spacing=(1, 1, 1)), empty) is empty


FAULTS = {
    "an unknown step": ({"name": "erode"}, "postprocessing: found 'erode', expected one of"),
    "an unknown class": ({"name": "fill_holes", "of": "c"}, "argument 'of': found 'c', expected one of: a, b"),
    "no volume": ({"name": "remove_small", "of": "a", "mm3": 0.0}, "argument 'mm3': found 0.0, expected"),
    "a missing argument": ({"name": "remove_small", "of": "a"}, "missing a required argument: 'mm3'"),
    "a volume that is a word": ({"name": "remove_small", "of": "a", "mm3": "big"}, "argument 'mm3': found 'big'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_steps_are_named(fault):
    spec, message = FAULTS[fault]
    with pytest.raises(PlanError, match=message):
        build_steps([spec], PLAIN)
