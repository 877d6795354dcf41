from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from autoseg.augmentation import build_augmentation, settings_from
from autoseg.augmentation.mirror import mirror
from autoseg.augmentation.pipeline import INTENSITY
from autoseg.preprocessing.channel_layout import ChannelLayout

PATCHES = [(8, 12, 10), (14, 9), (3, 16, 16)]
NO_SPATIAL = {"name": "default", "rotation": {"probability": 0}, "scaling": {"probability": 0}}


def augmentation(spec=None, patch=(8, 12, 10), channels=2, axes=None):
    return build_augmentation(
        spec or {"name": "default"},
        dimension=len(patch),
        patch_size=patch,
        spacing=(1.0,) * len(patch),
        mirror_axes=tuple(range(len(patch))) if axes is None else axes,
        layout=ChannelLayout(channels),
    )


def sample(augment, seed, dtype=np.int16):
    """The image and labels that a sample is made from, with its parameters."""
    parameters = augment.sample(np.random.default_rng(seed))
    size = augment.source_size(parameters)
    rng = np.random.default_rng([seed, 1])
    image = torch.from_numpy(rng.normal(size=(augment.layout.image, *size)).astype(np.float32))
    return image, torch.from_numpy(rng.integers(0, 4, size).astype(dtype)), parameters


def batch(augment, seeds, dtype=np.int16):
    return tuple(list(part) for part in zip(*(sample(augment, seed, dtype) for seed in seeds), strict=True))


@pytest.mark.parametrize("patch", PATCHES)
@pytest.mark.parametrize("name", ["default", "light", "strong", "none"])
@pytest.mark.parametrize(("channels", "dtype"), [(1, np.uint8), (3, np.int16)])
def test_every_preset_makes_patches(name, patch, channels, dtype):
    augment = augmentation({"name": name}, patch, channels)
    images, labels = augment.apply(*batch(augment, range(16), dtype))
    assert images.shape == (16, channels, *patch) and labels.shape == (16, *patch)
    assert images.dtype == torch.float32 and labels.numpy().dtype == dtype
    assert torch.isfinite(images).all()
    assert set(labels.unique().tolist()) <= {0, 1, 2, 3}


def test_none_changes_nothing():
    augment = augmentation({"name": "none"})
    images, labels, parameters = batch(augment, range(4))
    augmented, targets = augment.apply(images, labels, parameters)
    assert torch.equal(augmented, torch.stack(images)) and torch.equal(targets, torch.stack(labels))


def test_what_it_is_given_stays_as_it_was():
    augment = augmentation()
    images, labels, parameters = batch(augment, range(8))
    before = [image.clone() for image in images], [one.clone() for one in labels]
    augment.apply(images, labels, parameters)
    assert all(torch.equal(a, b) for a, b in zip([*images, *labels], [*before[0], *before[1]], strict=True))


def test_the_same_generator_draws_the_same_and_it_travels():
    augment = augmentation()
    for seed in range(20):
        first, again = (augment.sample(np.random.default_rng(seed)) for _ in range(2))
        assert first == again == pickle.loads(pickle.dumps(first))
        assert len(pickle.dumps(first)) < 1000


@pytest.mark.parametrize("patch", PATCHES)
def test_a_sample_does_not_depend_on_its_batch(patch):
    augment = augmentation(NO_SPATIAL, patch)
    images, labels, parameters = batch(augment, range(12))
    together, targets = augment.apply(images, labels, parameters)
    for index in range(12):
        alone, target = augment.apply([images[index]], [labels[index]], [parameters[index]])
        torch.testing.assert_close(together[index], alone[0], atol=2e-6, rtol=1e-6)
        assert torch.equal(targets[index], target[0])


def test_a_turned_sample_depends_on_its_batch_by_rounding_alone():
    spec = {"name": "none", "rotation": {"probability": 1}, "scaling": {"probability": 1}}
    augment = augmentation(spec)
    images, labels, parameters = batch(augment, range(4))
    together, targets = augment.apply(images, labels, parameters)
    for index in range(4):
        alone, target = augment.apply([images[index]], [labels[index]], [parameters[index]])
        # In white noise, neighbouring voxels differ by several deviations: 1e-5 of an edge makes about so much.
        torch.testing.assert_close(together[index], alone[0], atol=5e-5, rtol=0)
        assert (targets[index] != target[0]).float().mean() < 0.001


def test_samples_that_do_not_move_are_taken_as_they_are():
    augment = augmentation({"name": "none", "rotation": {"probability": 0.5}})
    images, labels, parameters = batch(augment, range(8))
    augmented, targets = augment.apply(images, labels, parameters)
    still = [index for index, drawn in enumerate(parameters) if drawn.spatial is None]
    assert 0 < len(still) < 8
    for index in still:
        assert torch.equal(augmented[index], images[index]) and torch.equal(targets[index], labels[index])


def test_probabilities_are_kept():
    augment, settings, count = augmentation(axes=(0, 2)), settings_from({"name": "default"}), 2000
    drawn = [augment.sample(np.random.default_rng(seed)) for seed in range(count)]
    expected = {name: getattr(settings, name).probability for name in INTENSITY}
    found = {name: np.mean([name in one.intensity for one in drawn]) for name in INTENSITY}
    for axis, probability in ((0, 0.5), (1, 0.0), (2, 0.5)):
        expected[f"mirror {axis}"] = probability
        found[f"mirror {axis}"] = np.mean([axis in one.mirror for one in drawn])
    expected["spatial"], found["spatial"] = 1 - 0.8 * 0.8, np.mean([one.spatial is not None for one in drawn])
    for name, probability in expected.items():
        # Four deviations of a binomial.
        assert abs(found[name] - probability) <= 4 * np.sqrt(probability * (1 - probability) / count), name


@pytest.mark.parametrize("patch", PATCHES)
def test_mirroring_twice_changes_nothing(patch):
    images, labels = torch.randn(3, 2, *patch), torch.randint(0, 4, (3, *patch))
    axes = [(), (0,), tuple(range(len(patch)))]
    once, targets = images.clone(), labels.clone()
    mirror(once, targets, axes)
    assert torch.equal(once[0], images[0]) and torch.equal(once[1], images[1].flip(1))
    assert torch.equal(targets[1], labels[1].flip(0))
    mirror(once, targets, axes)
    assert torch.equal(once, images) and torch.equal(targets, labels)
