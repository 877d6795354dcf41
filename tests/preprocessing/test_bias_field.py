from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from autoseg.images.statistics import nonzero_mask
from autoseg.preprocessing.normalization.bias_field import MOST_VOXELS, BiasFieldZScore, _shrink_factors


def skewed(shape, seed=0):
    """Two tissues in a ball under a smooth field; returns image, tissue and ball.

    The field's range, a factor of two, is about that of tissues: N4 does not tell a field of twice that from tissues
    that are as coarse as it is, with or without shrinking.
    """
    axes = np.meshgrid(*(np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape), indexing="ij")
    z, y, x = axes
    ball = z**2 + y**2 + x**2 < 0.9
    tissue = np.where(np.sin(5 * x) * np.cos(4 * y) > 0, 200.0, 100.0) + np.random.default_rng(seed).normal(0, 3, shape)
    field = np.exp(0.2 * x + 0.15 * y)
    return (tissue * field * ball).astype(np.float32), tissue, ball


def spread(image, tissue, inside):
    """How unevenly an image shows its tissues."""
    ratio = image[inside] / tissue[inside]
    return ratio.std() / ratio.mean()


@pytest.mark.parametrize("shape", [(24, 40, 40), (1, 80, 80), (80, 1, 80), (3, 60, 60)])
@pytest.mark.parametrize(("masked", "left"), [(True, 0.15), (False, 0.5)])
def test_most_of_the_field_is_removed(shape, masked, left):
    # Otsu's threshold may take the brighter tissue alone; beside it, the field is a guess.
    image, tissue, inside = skewed(shape)
    corrected = BiasFieldZScore(masked=masked, shrink=2).corrected(image)
    assert spread(corrected, tissue, inside) < left * spread(image, tissue, inside)


def test_it_is_what_simpleitk_gives_where_nothing_is_shrunk():
    image, _, _ = skewed((16, 24, 24))
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations([20, 20])
    mask = sitk.GetImageFromArray(nonzero_mask(image).astype(np.uint8))
    expected = sitk.GetArrayFromImage(n4.Execute(sitk.GetImageFromArray(image / image.max()), mask))
    found = BiasFieldZScore(masked=True, shrink=1, iterations=(20, 20)).corrected(image)
    assert np.allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_the_result_does_not_depend_on_threads():
    image, _, _ = skewed((24, 32, 32))
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    results = []
    try:
        for threads in (1, 2, 5, 2):
            sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
            results.append(BiasFieldZScore(masked=True, iterations=(10, 10))(image))
            assert sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() == threads
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
    assert all(np.array_equal(result, results[0]) for result in results)


@pytest.mark.parametrize("size", [(512, 512, 100), (4000, 4000), (64, 64, 3), (2, 2, 2), (5000, 3, 3)])
def test_large_images_are_shrunk_until_the_fit_is_quick(size):
    factors = _shrink_factors(size, 4)
    left = [n // f for n, f in zip(size, factors, strict=True)]
    assert np.prod(left) <= MOST_VOXELS
    assert all(after >= min(before, 4) for before, after in zip(size, left, strict=True))
