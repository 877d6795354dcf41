"""Augmentation of images with left and right classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autoseg.augmentation import Parameters, build_augmentation
from autoseg.augmentation.mirror import mirror, swap_labels
from autoseg.errors import PlanError
from autoseg.preprocessing.channel_layout import ChannelLayout
from autoseg.preprocessing.mirrored_labels import MirroredLabels

LEFT, RIGHT, LIVER, IGNORED = 1, 2, 3, -1
PATCH = (4, 6, 8)
SIDES = MirroredLabels(axis=2, outputs=(0, RIGHT, LEFT, LIVER), labels=(0, RIGHT, LEFT, LIVER, IGNORED))
ALL_AXES = [(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]


def augmentation(mirrored_labels=SIDES, spec=None, previous_labels=0, patch=PATCH):
    return build_augmentation(
        spec or {"name": "none", "mirror": {"probability": 0.5}},
        dimension=len(patch),
        patch_size=patch,
        spacing=(1.0,) * len(patch),
        mirror_axes=tuple(range(len(patch))),
        layout=ChannelLayout(1, previous_labels=previous_labels),
        mirrored_labels=mirrored_labels,
    )


def body(dtype=torch.int16):
    """A body with a left and a right kidney, a liver and a voxel that nobody annotated, and its image."""
    labels = torch.zeros(PATCH, dtype=dtype)
    labels[1:3, 2:4, 6], labels[1:3, 2:4, 1] = LEFT, RIGHT
    labels[3, 4:, 1:3], labels[0, 0, 0] = LIVER, IGNORED
    return labels[None].float(), labels


@given(st.lists(st.sampled_from(ALL_AXES), min_size=1, max_size=4), st.integers(0, 2**32 - 1))
def test_mirroring_twice_changes_nothing(axes, seed):
    labels = torch.from_numpy(np.random.default_rng(seed).integers(-1, 4, (len(axes), *PATCH), dtype=np.int8))
    images = labels[:, None].float()
    moved, targets = images.clone(), labels.clone()
    for _ in range(2):
        mirror(moved, targets, axes)
        swap_labels(targets, axes, SIDES)
    assert torch.equal(moved, images) and torch.equal(targets, labels)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.int32, torch.int64])
@pytest.mark.parametrize("axes", ALL_AXES)
def test_what_is_on_the_left_afterwards_is_left(axes, dtype):
    image, labels = body(dtype)
    moved, (after,) = augmentation().apply([image], [labels], [Parameters(mirror=axes)])
    assert after.dtype == dtype
    side = {LEFT: slice(4, 8), RIGHT: slice(0, 4)}
    for organ, half in side.items():
        assert (after[..., half] == organ).sum() == (labels == organ).sum() == (after == organ).sum()
    # The image itself is mirrored: where a left kidney was seen, the right one is told now.
    names = {RIGHT: LEFT, LEFT: RIGHT} if 2 in axes else {}
    for value in (LEFT, RIGHT, LIVER, IGNORED):
        assert torch.equal(moved[0, 0] == value, after == names.get(value, value))


def test_samples_of_a_batch_each_have_their_own():
    image, labels = body()
    axes = [(2,), (), (0,)]
    _, after = augmentation().apply([image] * 3, [labels] * 3, [Parameters(mirror=along) for along in axes])
    for one, along in zip(after, axes, strict=True):
        _, (alone,) = augmentation().apply([image], [labels], [Parameters(mirror=along)])
        assert torch.equal(one, alone)
    assert not torch.equal(after[0], labels.flip(2)) and torch.equal(after[2], labels.flip(0))


def test_channels_of_a_previous_stage_change_places_with_the_labels():
    image, labels = body()
    parameters = [Parameters(mirror=(1, 2))]
    moved, (after,) = augmentation(previous_labels=3).apply([image], [labels], parameters, [labels.clone()])
    expected = torch.stack([after == value for value in (LEFT, RIGHT, LIVER)])
    assert moved.shape[1] == 4 and torch.equal(moved[0, 1:], expected.float())


def test_what_was_annotated_changes_places_too():
    """A case in which only the left kidney was annotated teaches the right one where it is mirrored."""
    known = torch.tensor([[True, True, False, False]] * 3)
    parameters = [Parameters(mirror=axes) for axes in [(), (2,), (0, 1)]]
    swapped = augmentation().annotated(known, parameters)
    assert swapped.tolist() == [[True, True, False, False], [True, False, True, False], [True, True, False, False]]
    assert augmentation(None).annotated(known, parameters) is known


def test_without_sides_labels_are_only_mirrored():
    image, labels = body()
    _, (after,) = augmentation(None).apply([image], [labels], [Parameters(mirror=(2,))])
    assert torch.equal(after, labels.flip(2))


FAR = {"name": "SpatialTransform", "patch_size": list(PATCH), "patch_center_dist_from_border": 2, "random_crop": False}
NEAR = {"angle_x": [-0.3, 0.3], "angle_y": [0, 0], "angle_z": [0, 0]}


@pytest.mark.parametrize(
    "transform",
    [
        {"name": "MirrorTransform"},
        {"name": "MirrorTransform", "axes": [0, 2]},
        {"name": "RndTransform", "transform": {"name": "MirrorTransform"}},
        {"name": "Rot90Transform", "num_rot": [2], "axes": [1, 2]},
        {**FAR, "do_elastic_deform": False},
        {**FAR, **NEAR, "angle_z": [-3.0, 0.0], "do_elastic_deform": False},
    ],
)
def test_the_loader_may_not_bring_left_to_right(transform):
    spec = {"name": "none", "loader": [transform]}
    with pytest.raises(PlanError, match="swaps left and right along axis 2 of the patch") as caught:
        augmentation(spec=spec).loader_transform  # noqa: B018
    assert "\n" not in str(caught.value)
    assert augmentation(None, spec).loader_transform is not None


def test_a_transform_of_one_size_is_for_samples_of_one_size():
    spec = {"name": "none", "loader": [{**FAR, "do_rotation": False, "do_elastic_deform": False}]}
    turned = spec | {"rotation": {"probability": 0.2}}
    with pytest.raises(PlanError, match="expected an array of the same shape"):
        augmentation(spec=turned).loader_transform  # noqa: B018


@pytest.mark.parametrize(
    "transform",
    [
        {"name": "MirrorTransform", "axes": [0, 1]},
        {**FAR, **NEAR, "do_elastic_deform": False},
        {**FAR, "do_rotation": False, "do_elastic_deform": False},
        {"name": "GaussianNoiseTransform"},
    ],
)
def test_the_loader_may_do_all_else(transform):
    assert augmentation(spec={"name": "none", "loader": [transform]}).loader_transform is not None
