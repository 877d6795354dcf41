"""Ignored voxels are moved with the image, as classes are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from autoseg.augmentation import build_augmentation
from autoseg.augmentation.loader_transforms import build_loader_transform
from autoseg.augmentation.spatial import MOST_LINEAR_CLASSES, Rotation, Scaling, Spatial, resample
from autoseg.preprocessing.channel_layout import ChannelLayout

SHAPE = (12, 14, 10)
TURNED = {"name": "SpatialTransform", "patch_size": None, "do_elastic_deform": False, "random_crop": False}


def blocks(classes, seed=0):
    coarse = np.random.default_rng(seed).integers(0, classes, (3, 7, 5))
    return coarse.repeat(4, axis=0).repeat(2, axis=1).repeat(2, axis=2).astype(np.int16)


@pytest.mark.parametrize("classes", [4, MOST_LINEAR_CLASSES + 10])
def test_turned_ignored_voxels_stay_ignored(classes):
    labels = blocks(classes)
    drawn = Spatial(SHAPE, (1.0,) * 3, Rotation(1.0), Scaling(1.0)).sample(np.random.default_rng(3))
    # The highest class becomes −1, in whose place the same voxels must come out.
    ignored = np.where(labels == classes - 1, -1, labels).astype(np.int16)
    image = torch.zeros(1, *SHAPE)
    _, moved = resample([image], [torch.from_numpy(ignored)], [drawn], SHAPE)
    _, expected = resample([image], [torch.from_numpy(labels)], [drawn], SHAPE)
    assert moved.dtype == torch.int16
    assert torch.equal(moved, torch.where(expected == classes - 1, -1, expected).to(torch.int16))
    assert (moved == -1).any()


@pytest.mark.parametrize("name", ["default", "none"])
def test_a_patch_that_is_ignored_everywhere_is_so_after_augmentation(name):
    made = build_augmentation(
        {"name": name},
        dimension=3,
        patch_size=SHAPE,
        spacing=(1.0,) * 3,
        mirror_axes=(0, 1, 2),
        layout=ChannelLayout(1),
    )
    for seed in range(12):
        parameters = made.sample(np.random.default_rng(seed))
        size = made.source_size(parameters)
        labels = torch.full(size, -1, dtype=torch.int16)
        _, targets = made.apply([torch.zeros(1, *size)], [labels], [parameters])
        assert (targets == -1).all()


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "MirrorTransform"},
        {"name": "Rot90Transform", "axes": [1, 2], "num_rot": [2], "p_per_sample": 1.0},
        # A cubic spline gives none of the values that the image was made of; the nearest voxel does.
        {**TURNED, "order_data": 0, "order_seg": 0, "border_mode_seg": "nearest"},
    ],
    ids=lambda spec: spec["name"],
)
def test_batchgenerators_keeps_them_as_well(spec):
    labels = blocks(3) - 1
    image = labels[None].astype(np.float32)
    transform = build_loader_transform([spec], patch=SHAPE, channels=1)
    moved_image, moved = transform(image, labels, np.random.default_rng(0))
    assert moved.dtype == labels.dtype
    assert set(np.unique(moved)) == {-1, 0, 1}
    assert np.array_equal(moved, moved_image[0]), "labels go where the image goes"


def test_batchgenerators_interpolates_them_as_a_class():
    labels = blocks(3) - 1
    linear, nearest = (
        build_loader_transform([{**TURNED, "order_seg": order}], patch=SHAPE, channels=1) for order in (1, 0)
    )
    image = np.zeros((1, *SHAPE), dtype=np.float32)
    (_, moved), (_, expected) = (made(image, labels, np.random.default_rng(0)) for made in (linear, nearest))
    assert ((moved == -1) == (expected == -1)).mean() > 0.9 and (moved == -1).any()
