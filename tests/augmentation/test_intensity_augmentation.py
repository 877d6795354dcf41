from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from autoseg.augmentation.blur import Blur, blurred
from autoseg.augmentation.brightness import Brightness
from autoseg.augmentation.contrast import Contrast
from autoseg.augmentation.draws import around_one
from autoseg.augmentation.gamma import Gamma
from autoseg.augmentation.low_resolution import LowResolution
from autoseg.augmentation.noise import Noise

SHAPES = [(9, 12, 10), (14, 9)]


def images(shape=(9, 12, 10), samples=3):
    return torch.randn(samples, 2, *shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "transform", [Noise(), Blur(), Brightness(), Contrast(), LowResolution(), Gamma()], ids=lambda t: type(t).__name__
)
def test_a_sample_is_changed_the_same_alone_and_in_a_batch(transform, shape):
    batch = images(shape, samples=6)
    parameters = [transform.sample(np.random.default_rng(seed), (2, *shape)) for seed in range(6)]
    together = transform.apply(batch.clone(), parameters)
    for index, one in enumerate(parameters):
        torch.testing.assert_close(together[index], transform.apply(batch[[index]], [one])[0], atol=1e-6, rtol=1e-6)
    assert not torch.equal(together, batch)


@pytest.mark.parametrize("shape", SHAPES)
def test_blur_is_scipys(shape):
    volumes = images(shape)[0]
    sigmas = [(0.6, 1.0, 0.5)[: len(shape)], (1.0, 0.9, 0.8)[: len(shape)]]
    for ours, along, volume in zip(blurred(volumes, sigmas), sigmas, volumes, strict=True):
        expected = volume.numpy()
        for axis, sigma in enumerate(along):
            expected = ndimage.gaussian_filter1d(expected, sigma, axis, mode="nearest")
        np.testing.assert_allclose(ours.numpy(), expected, atol=1e-5)


def test_blur_leaves_channels_that_were_not_drawn():
    still, on = (), (0.7, 0.6, 0.9)
    before = images()
    after = Blur().apply(before.clone(), [(still, on), (still, still), (on, still)])
    changed = [[not torch.equal(after[i, c], before[i, c]) for c in range(2)] for i in range(3)]
    assert changed == [[False, True], [False, False], [True, False]]


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_gamma_keeps_mean_and_deviation(inverted, shape):
    before, axes = images(shape), tuple(range(2, 2 + len(shape)))
    after = Gamma(inverted=inverted).apply(before, [(0.7, 1.4)] * 3)
    torch.testing.assert_close(after.mean(axes), before.mean(axes), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(after.std(axes), before.std(axes), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(after, before, atol=1e-3)


def test_gamma_bends_from_the_dark_or_the_bright_end():
    before = torch.linspace(0, 1, 64).reshape(1, 1, 8, 8)

    def skew(transform):
        bent = transform.apply(before, [(1.5,)])
        return float(((bent - bent.mean()) ** 3).mean())

    assert skew(Gamma()) > 0 > skew(Gamma(inverted=True))


def test_gamma_of_an_empty_channel_is_empty():
    assert torch.equal(Gamma().apply(torch.zeros(1, 1, 4, 4), [(1.3,)]), torch.zeros(1, 1, 4, 4))


def test_contrast_stretches_around_the_mean_within_the_range():
    before = images()
    after = Contrast().apply(before, [(1.25, 0.75)] * 3)
    low, high = before.amin((2, 3, 4), keepdim=True), before.amax((2, 3, 4), keepdim=True)
    assert (after <= high).all() and (after >= low).all()
    mean = before.mean((2, 3, 4), keepdim=True)
    torch.testing.assert_close((after - mean)[:, 1], 0.75 * (before - mean)[:, 1])
    inside = (after > low) & (after < high)
    torch.testing.assert_close((after - mean)[:, 0][inside[:, 0]], 1.25 * (before - mean)[:, 0][inside[:, 0]])


def test_brightness_multiplies():
    after = Brightness().apply(images(), [(2.0, 3.0)] * 3)
    torch.testing.assert_close(after, images() * torch.tensor([2.0, 3.0]).reshape(2, 1, 1, 1))


def test_noise_has_its_deviation_and_seed_and_is_the_same_in_all_channels():
    noise = Noise().apply(torch.zeros(2, 2, 20, 20, 20), [(0.5, 1), (0.25, 1)])
    assert float(noise[0].std()) == pytest.approx(0.5, rel=0.05)
    torch.testing.assert_close(noise[0], 2 * noise[1])
    assert torch.equal(noise[:, 0], noise[:, 1])
    assert not torch.equal(noise[0], Noise().apply(torch.zeros(1, 2, 20, 20, 20), [(0.5, 2)])[0])


def test_low_resolution_takes_the_nearest_voxels_and_interpolates():
    ramp = torch.arange(8.0).expand(1, 1, 8, 8).clone()
    after = LowResolution().apply(ramp, [(0.5,)])
    # Every other column of 0…7, the one nearest-exact picks (1, 3, 5, 7), and linear in between.
    expected = torch.tensor([1.0, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.0])
    torch.testing.assert_close(after, expected.expand(1, 1, 8, 8))


def test_low_resolution_leaves_channels_that_were_not_drawn_and_slices_of_flat_patches():
    before = images((4, 16, 16))
    after = LowResolution().apply(before, [(0.5, 1.0)] * 3)
    assert torch.equal(after[:, 1], before[:, 1])
    assert not torch.equal(after[:, 0], before[:, 0])
    alone = LowResolution().apply(before[:, :, 1], [(0.5, 1.0)] * 3)
    torch.testing.assert_close(after[:, :, 1], alone)


def test_factors_are_above_and_below_one_with_equal_chance():
    rng = np.random.default_rng(0)
    drawn = np.array([around_one(rng, (0.7, 1.5)) for _ in range(2000)])
    assert drawn.min() >= 0.7 and drawn.max() <= 1.5
    # Five deviations of a binomial of 2000 draws.
    assert abs((drawn < 1).mean() - 0.5) < 5 * np.sqrt(0.25 / 2000)
    assert all(2 <= around_one(rng, (2, 3)) <= 3 for _ in range(10))
