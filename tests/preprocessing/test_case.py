from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoseg.data.dataset import Dataset
from autoseg.errors import ImageError
from autoseg.images.geometry import Geometry, Volume
from autoseg.plan.files import PLAN_VERSION
from autoseg.plan.schema import Configuration, Plan, Training
from autoseg.postprocessing.label_maps import label_map
from autoseg.postprocessing.scores import Scores
from autoseg.preprocessing.case import label_indices, prepare
from autoseg.preprocessing.record import resampled_shape

DATASET = Dataset("made", ("T1",), {"background": 0, "organ": 3, "lesion": 300}, ".nii.gz", ())
VALUES = np.array([0, 3, 300])


def plan(spacing, transpose=(0, 1, 2)):
    configuration = Configuration(
        dimension=3,
        spacing=spacing,
        median_shape=(8, 8, 8),
        patch_size=(8, 8, 8),
        batch_size=2,
        normalization=({"name": "none"},),
        network={},
        loss={},
        sampling={},
        augmentation={},
        training=Training({}, {}, iterations=1),
    )
    return {
        "plan": Plan(PLAN_VERSION, "made", "unet", transpose, (0, 1, 2), {"c": configuration}),
        "configuration": configuration,
    }


def volume(shape=(7, 9, 11), spacing=(3.0, 1.0, 2.0)):
    """An image of voxel numbers with a margin of zeros, and labels inside it."""
    array = np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(1, *shape)
    array[:, :1], array[:, :, -2:], array[..., :3] = 0, 0, 0
    labels = np.where(array[0] > 0, VALUES[np.random.default_rng(0).integers(0, 3, shape)], 0)
    return Volume(array, Geometry(shape, spacing, (0.0, 0.0, 0.0), tuple(np.eye(3).ravel()))), labels


def undone(prepared):
    """Export certain scores for the labels of a prepared case."""
    certain = np.stack([prepared.labels == index for index in range(3)]).astype(np.float32)
    return label_map([Scores(certain, prepared.preprocessing)], DATASET)


@pytest.mark.parametrize("transpose", [(0, 1, 2), (1, 0, 2), (2, 0, 1), (1, 2, 0)])
def test_at_the_same_spacing_the_export_restores_every_label(transpose):
    image, labels = volume()
    spacing = tuple(image.geometry.spacing[axis] for axis in transpose)
    prepared = prepare(image, labels, dataset=DATASET, **plan(spacing, transpose))
    assert np.array_equal(undone(prepared), labels)
    assert prepared.preprocessing.shape == prepared.preprocessing.cropped_shape == prepared.labels.shape
    assert np.array_equal(prepared.image[0], image.array[0, 1:, :-2, 3:].transpose(transpose))


@given(st.permutations([0, 1, 2]), st.tuples(*[st.floats(0.5, 4)] * 3))
def test_the_extent_is_kept_to_within_half_a_voxel(transpose, target):
    image, labels = volume()
    transpose = tuple(transpose)
    prepared = prepare(image, labels, dataset=DATASET, **plan(target, transpose))
    cropped = np.array([6, 7, 8])[list(transpose)]
    extent = cropped * np.array(image.geometry.spacing)[list(transpose)]
    assert prepared.preprocessing.cropped_shape == tuple(cropped)
    assert prepared.image.shape[1:] == prepared.labels.shape == prepared.preprocessing.shape
    assert (
        np.abs(np.array(prepared.preprocessing.shape) * target - extent) <= np.maximum(target, 1) / 2 + 1e-9
    ).all() or min(prepared.preprocessing.shape) == 1
    assert set(np.unique(prepared.labels)) <= {0, 1, 2}
    assert undone(prepared).shape == labels.shape


def test_thick_slices_are_resampled_apart():
    image, labels = volume(spacing=(6.0, 1.0, 1.0))
    prepared = prepare(image, labels, dataset=DATASET, **plan((3.0, 1.0, 1.0)))
    assert prepared.preprocessing.separate_axis == 0
    assert prepared.preprocessing.shape == (12, 7, 8)
    # Slices are repeated, never blended.
    assert np.array_equal(np.unique(prepared.image), np.unique(image.array[0, 1:, :-2, 3:]))
    assert np.array_equal(undone(prepared), labels)


def test_an_unchanged_anisotropic_case_is_not_resampled():
    image, labels = volume(spacing=(6.0, 1.0, 1.0))
    assert prepare(image, labels, dataset=DATASET, **plan((6.0, 1.0, 1.0))).preprocessing.separate_axis is None


def test_an_axis_may_keep_its_own_spacing():
    image, _ = volume()
    prepared = prepare(image, None, dataset=DATASET, **plan((None, 0.5, 1.0)))
    assert prepared.labels is None
    assert prepared.preprocessing.shape == (6, 14, 16)


def test_label_values_become_indices_in_the_order_of_the_dataset():
    labels = np.array([[0, 3, 300, 7, 301]])
    assert label_indices(labels, DATASET).tolist() == [[0, 1, 2, 0, 0]]
    plain = Dataset("plain", ("T1",), {"background": 0, "a": 1, "b": 2}, ".nii.gz", ())
    assert label_indices(np.array([0, 1, 2], np.uint8), plain).tolist() == [0, 1, 2]
    assert label_indices(np.array([0, 1, 2, 9], np.uint8), plain).tolist() == [0, 1, 2, 0]
    assert label_indices(np.zeros((0,), np.uint8), plain).size == 0


def test_many_classes_do_not_overflow():
    labels = {"background": 0, **{f"c{i}": i for i in range(1, 200)}}
    many = Dataset("many", ("T1",), labels, ".nii.gz", ())
    assert label_indices(np.arange(200), many).tolist() == list(range(200))


def test_the_number_of_channels_must_be_the_plans():
    image, _ = volume()
    two = Volume(np.concatenate([image.array, image.array]), image.geometry)
    with pytest.raises(ImageError, match=r"found 2 channels, expected 1 \(T1\)"):
        prepare(two, None, dataset=DATASET, **plan((1.0, 1.0, 1.0)))


def test_nothing_shrinks_to_no_voxels():
    assert resampled_shape((1, 10, 10), (1, 1, 1), (5, 2, 0.5)) == (1, 5, 20)
