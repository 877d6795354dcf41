"""How augmentation treats the label map of a previous stage."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from autoseg.augmentation import build_augmentation, settings_from
from autoseg.augmentation.loader_transforms import LoaderTransforms
from autoseg.preprocessing.channel_layout import ChannelLayout

PATCHES = [(8, 12, 10), (14, 9)]
STILL = {"morphology": {"probability": 0}, "component_removal": {"probability": 0}}


def augmentation(patch, spec=None, previous_labels=3):
    axes = len(patch)
    return build_augmentation(
        spec or {"name": "default"},
        dimension=axes,
        patch_size=patch,
        spacing=(1.0,) * axes,
        mirror_axes=tuple(range(axes)),
        layout=ChannelLayout(2, previous_labels=previous_labels),
    )


def samples(augment, count=24):
    """Images, labels, previous labels and parameters, drawn as the loader draws them."""
    drawn = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        parameters = augment.sample(rng)
        size = augment.source_size(parameters)
        image = torch.from_numpy(rng.normal(size=(2, *size)).astype(np.float32))
        blocks = np.kron(rng.integers(0, 4, [-(-n // 4) for n in size]), np.ones([4] * len(size)))
        labels = torch.from_numpy(blocks[tuple(slice(n) for n in size)].astype(np.int16))
        drawn.append((image, labels, parameters))
    images, labels, parameters = zip(*drawn, strict=True)
    return list(images), list(labels), list(parameters)


@pytest.mark.parametrize("patch", PATCHES)
def test_channels_move_with_the_labels_and_images_stay_as_without(patch):
    augment = augmentation(patch)
    images, labels, parameters = samples(augment)
    alone, targets = augment.apply(images, labels, parameters)
    batch, again = augment.apply(images, labels, parameters, labels)
    assert torch.equal(batch[:, :2], alone) and torch.equal(again, targets), "image and labels know nothing of it"
    expected = torch.stack([targets == value for value in (1, 2, 3)], dim=1)
    assert batch.dtype == torch.float32 and torch.equal(batch[:, 2:], expected.float())
    assert any(p.intensity for p in parameters) and any(p.mirror for p in parameters)
    assert any(p.spatial for p in parameters)


@pytest.mark.parametrize("patch", PATCHES)
def test_all_else_of_a_sample_is_drawn_as_without_a_previous_stage(patch):
    with_stage, without = augmentation(patch), augmentation(patch, previous_labels=0)
    for seed in range(10):
        first, second = np.random.default_rng(seed), np.random.default_rng(seed)
        assert with_stage.sample(first) == without.sample(second)
        assert first.bit_generator.state == second.bit_generator.state


def test_mistakes_are_made_in_a_copy_and_only_where_they_are_on():
    labels = np.kron(np.random.default_rng(0).integers(0, 4, (3, 4, 4)), np.ones((4, 4, 4))).astype(np.int16)
    before, augment = labels.copy(), augmentation((12, 16, 16))
    disturbed = [augment.disturb(labels, np.random.default_rng(seed)) for seed in range(20)]
    again = [augment.disturb(labels, np.random.default_rng(seed)) for seed in range(20)]
    assert np.array_equal(labels, before)
    assert all(np.array_equal(a, b) for a, b in zip(disturbed, again, strict=True))
    assert 2 < sum(not np.array_equal(one, labels) for one in disturbed) < 18
    for spec in ({"name": "none"}, {"name": "strong", **STILL}):
        augment = augmentation((12, 16, 16), spec)
        assert all(np.array_equal(augment.disturb(labels, np.random.default_rng(seed)), labels) for seed in range(20))


def test_a_plan_may_change_how_often_mistakes_are_made():
    settings = settings_from({"name": "light", "morphology": {"radius": [2, 3]}})
    assert settings.morphology.radius == (2, 3) and settings.morphology.probability == 0.2


def test_transforms_of_the_loader_move_both_label_maps():
    mirror = LoaderTransforms(({"name": "MirrorTransform", "axes": [0, 1, 2]},))
    image = np.random.default_rng(0).normal(size=(2, 4, 6, 8)).astype(np.float32)
    labels = (image[0] > 0).astype(np.int16)
    moved, both = mirror(image, np.stack([labels, 2 * labels]), np.random.default_rng(5))
    same, one = mirror(image, labels, np.random.default_rng(5))
    assert not np.array_equal(moved, image), "this seed mirrors"
    assert np.array_equal(moved, same) and np.array_equal(both[0], one) and np.array_equal(both[1], 2 * one)
