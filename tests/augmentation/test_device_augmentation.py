from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from autoseg.augmentation import build_augmentation
from autoseg.augmentation.blur import Blur, blurred
from autoseg.augmentation.contrast import Brightness, Contrast
from autoseg.augmentation.gamma import Gamma
from autoseg.augmentation.low_resolution import LowResolution
from autoseg.augmentation.noise import Noise
from autoseg.augmentation.settings import settings_from
from autoseg.augmentation.spatial import Rotation, Scaling, Spatial, SpatialParameters, resample
from autoseg.errors import PlanError

IMAGES = torch.randn(3, 2, 9, 12, 10, generator=torch.Generator().manual_seed(0))


def augmentation(spec=None, patch=(8, 12, 10), channels=2):
    axes = len(patch)
    return build_augmentation(
        spec or {"name": "default"},
        dimension=axes,
        patch_size=patch,
        spacing=(1.0,) * axes,
        mirror_axes=tuple(range(axes)),
        channels=channels,
    )


def drawn(augment, seed):
    """A sample's parameters, with the image and labels it is made from."""
    parameters = augment.sample(np.random.default_rng(seed))
    size = augment.source_size(parameters)
    rng = np.random.default_rng([seed, 1])
    image = torch.from_numpy(rng.normal(size=(2, *size)).astype(np.float32))
    return image, torch.from_numpy(rng.integers(0, 4, size).astype(np.int16)), parameters


@pytest.mark.parametrize("patch", [(8, 12, 10), (14, 9), (3, 16, 16)])
@pytest.mark.parametrize("name", ["default", "light", "strong", "none"])
def test_every_preset_makes_patches(name, patch):
    augment = augmentation({"name": name}, patch)
    samples = [drawn(augment, seed) for seed in range(20)]
    images, labels = augment.apply(*map(list, zip(*samples, strict=True)))
    assert images.shape == (20, 2, *patch) and labels.shape == (20, *patch)
    assert images.dtype == torch.float32 and labels.dtype == torch.int16
    assert torch.isfinite(images).all()
    assert set(labels.unique().tolist()) <= {0, 1, 2, 3}


def test_none_changes_nothing():
    augment = augmentation({"name": "none"})
    image, labels, parameters = drawn(augment, 0)
    images, targets = augment.apply([image], [labels], [parameters])
    assert torch.equal(images[0], image) and torch.equal(targets[0], labels)


def test_the_same_generator_draws_the_same():
    augment = augmentation()
    for seed in range(20):
        first, again = (augment.sample(np.random.default_rng(seed)) for _ in range(2))
        assert first == again


def test_a_sample_does_not_depend_on_its_batch():
    augment = augmentation()
    samples = [drawn(augment, seed) for seed in range(12)]
    together, targets = augment.apply(*map(list, zip(*samples, strict=True)))
    for index, (image, labels, parameters) in enumerate(samples):
        alone, target = augment.apply([image], [labels], [parameters])
        torch.testing.assert_close(together[index], alone[0], atol=1e-4, rtol=1e-4)
        assert (targets[index] != target[0]).float().mean() < 0.01


def test_probabilities_are_kept():
    augment, count = augmentation(), 2000
    samples = [augment.sample(np.random.default_rng(seed)) for seed in range(count)]
    spatial = np.mean([sample.spatial is not None for sample in samples])
    assert spatial == pytest.approx(1 - 0.8 * 0.8, abs=0.04)
    for name, probability in (("noise", 0.1), ("gamma", 0.3), ("low_resolution", 0.25)):
        assert np.mean([name in sample.intensity for sample in samples]) == pytest.approx(probability, abs=0.04)
    assert np.mean([0 in sample.mirror for sample in samples]) == pytest.approx(0.5, abs=0.04)


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_the_source_covers_the_patch(seed):
    spatial = Spatial((10, 12, 14), (2.0, 1.0, 1.0), Rotation(1.0), Scaling(1.0))
    parameters = spatial.sample(np.random.default_rng(seed))
    size = np.array(spatial.source_size(parameters))
    corners = np.array(np.meshgrid(*[[-(n - 1) / 2, (n - 1) / 2] for n in spatial.patch])).reshape(3, -1)
    reach = np.abs(np.array(parameters.matrix) @ corners).max(axis=1)
    assert (reach <= (size - 1) / 2 + 1e-9).all()
    assert ((size - np.array(spatial.patch)) % 2 == 0).all()


def test_rotation_keeps_millimetres():
    # A turn of anisotropic voxels is rigid in millimetres: its matrix there is orthogonal.
    spacing = np.array([3.0, 1.0, 0.5])
    spatial = Spatial((16, 16, 16), tuple(spacing), Rotation(1.0), Scaling(0.0))
    matrix = np.array(spatial.sample(np.random.default_rng(0)).matrix)
    rigid = np.diag(spacing) @ matrix @ np.diag(1 / spacing)
    np.testing.assert_allclose(rigid @ rigid.T, np.eye(3), atol=1e-9)


def test_flat_patches_turn_within_slices():
    spatial = Spatial((4, 32, 32), (5.0, 1.0, 1.0), Rotation(1.0), Scaling(1.0))
    matrix = np.array(spatial.sample(np.random.default_rng(1)).matrix)
    np.testing.assert_allclose(matrix[0], [1, 0, 0])
    np.testing.assert_allclose(matrix[:, 0], [1, 0, 0])


def test_resampling_is_scipys():
    matrix = np.array(
        Spatial((9, 11, 13), (1.0,) * 3, Rotation(1.0), Scaling(1.0)).sample(np.random.default_rng(3)).matrix
    )
    source = np.random.default_rng(0).normal(size=(9, 11, 13)).astype(np.float32)
    centre = (np.array(source.shape) - 1) / 2
    expected = ndimage.affine_transform(source, matrix, centre - matrix @ centre, order=1, mode="grid-constant")
    parameters = SpatialParameters(tuple(map(tuple, matrix)))
    labels = torch.zeros(source.shape, dtype=torch.int16)
    moved, _ = resample([torch.from_numpy(source)[None]], [labels], [parameters], source.shape)
    np.testing.assert_allclose(moved[0, 0].numpy(), expected, atol=1e-4)


def test_blur_is_scipys():
    volume = torch.randn(2, 9, 10, 11, generator=torch.Generator().manual_seed(1))
    ours = blurred(volume, torch.tensor([0.6, 1.0]))
    for one, sigma, array in zip(ours, (0.6, 1.0), volume, strict=True):
        expected = ndimage.gaussian_filter(array.numpy(), sigma, mode="nearest")
        np.testing.assert_allclose(one.numpy(), expected, atol=1e-5)


def test_blur_leaves_channels_that_were_not_drawn():
    result = Blur().apply(IMAGES, [(0.0, 0.7), (0.0, 0.0), (0.9, 0.0)])
    assert torch.equal(result[0, 0], IMAGES[0, 0]) and torch.equal(result[1], IMAGES[1])
    assert not torch.equal(result[0, 1], IMAGES[0, 1]) and not torch.equal(result[2, 0], IMAGES[2, 0])


@pytest.mark.parametrize("inverted", [False, True])
def test_gamma_keeps_mean_and_deviation(inverted):
    bent = Gamma(inverted=inverted).apply(IMAGES, [(0.7, 1.4)] * 3)
    axes = (2, 3, 4)
    torch.testing.assert_close(bent.mean(axes), IMAGES.mean(axes), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(bent.std(axes), IMAGES.std(axes), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(bent, IMAGES, atol=1e-3)


def test_contrast_keeps_the_range():
    stretched = Contrast().apply(IMAGES, [(1.25, 0.75)] * 3)
    assert (stretched.amax((2, 3, 4)) <= IMAGES.amax((2, 3, 4)) + 1e-6).all()
    assert stretched[:, 1].std() < IMAGES[:, 1].std() < stretched[:, 0].std()


def test_brightness_multiplies():
    torch.testing.assert_close(Brightness().apply(IMAGES, [(2.0, 3.0)] * 3)[:, 1], IMAGES[:, 1] * 3)


def test_noise_has_its_deviation_and_seed():
    still = torch.zeros(2, 1, 20, 20, 20)
    noisy = Noise().apply(still, [(0.5, 1), (0.5, 1)])
    assert torch.equal(noisy[0], noisy[1])
    assert float(noisy.std()) == pytest.approx(0.5, rel=0.05)


def test_low_resolution_smooths():
    rough = LowResolution().apply(IMAGES, [(0.5, 1.0)] * 3)
    assert torch.equal(rough[:, 1], IMAGES[:, 1])
    assert rough[:, 0].diff(dim=-1).abs().mean() < IMAGES[:, 0].diff(dim=-1).abs().mean()


def test_a_plan_may_change_any_value():
    changed = settings_from({"name": "default", "rotation": {"probability": 0.5}, "noise": {"variance": [0, 0.2]}})
    assert changed.rotation.probability == 0.5
    assert changed.noise.variance == (0, 0.2)
    assert changed.scaling == settings_from({"name": "default"}).scaling


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "strogn"}, "found 'strogn', expected one of: strong"),
        ({"name": "default", "rotatoin": {}}, "found 'rotatoin', expected one of: rotation"),
        ({"name": "default", "noise": {"sigma": 1}}, "augmentation.noise: found 'sigma', expected one of: probability"),
        ({"name": "default", "noise": {"probability": 2}}, "augmentation.noise.probability: found 2"),
        ({"name": "default", "noise": {"variance": "big"}}, "field 'noise.variance"),
    ],
)
def test_what_a_plan_says_wrongly_is_named(spec, message):
    with pytest.raises(PlanError, match=message):
        settings_from(spec)
