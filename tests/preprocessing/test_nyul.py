"""Standard intensities: what the landmarks of Nyúl et al. promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoseg.fingerprint.landmarks import PERCENTAGES, landmark_percentiles
from autoseg.preprocessing.normalization.nyul import NyulZScore, fit_landmarks, piecewise_linear


@pytest.fixture
def images():
    """The same tissues in other units, with other contrast."""
    rng = np.random.default_rng(0)
    tissue = [rng.gamma(3, 1, (6, 30, 30)) for _ in range(4)]
    return [
        (a * t**p + b).astype(np.float32)
        for t, a, b, p in zip(tissue, (1, 40, 7, 300), (2, 9, 0.1, 50), (1, 1.3, 0.8, 1), strict=True)
    ]


def test_landmarks_are_the_mean_of_the_mapped_percentiles():
    landmarks = fit_landmarks([[0, 1, 10], [100, 150, 200], []])
    assert landmarks == [0, 30, 100]


def test_without_any_contrast_landmarks_are_spread_evenly():
    assert fit_landmarks([[3.0] * 11, []]) == pytest.approx(PERCENTAGES)


@pytest.mark.parametrize("masked", [True, False])
def test_landmarks_of_all_training_images_coincide(images, masked):
    landmarks = fit_landmarks([landmark_percentiles(image, masked=masked) for image in images])
    normalization = NyulZScore(landmarks=landmarks, masked=masked)
    for image in images:
        foreground = image != 0 if masked else image > image.mean()
        found = np.percentile(normalization.standardized(image)[foreground], PERCENTAGES)
        assert np.allclose(found, landmarks, atol=0.05)


def test_the_order_of_intensities_stays(images):
    result = NyulZScore(landmarks=[n**2 for n in range(11)]).standardized(images[1])
    order = np.argsort(images[1], axis=None)
    assert (np.diff(result.reshape(-1)[order]) >= 0).all()


def test_straight_between_landmarks_and_beyond_them():
    image = np.array([[[-10, 0, 5, 10, 30, 50, 70]]], dtype=np.float32)
    result = piecewise_linear(image, [0, 10, 50], [0, 100, 120])
    # The first segment rises by 10 for each unit, the last by 0.5; both go on as they are.
    assert np.allclose(result, [-100, 0, 50, 100, 110, 120, 130])


def test_percentiles_that_fall_together_go_to_the_mean_of_their_landmarks():
    image = np.array([[[0, 1, 2]]], dtype=np.float32)
    assert np.allclose(piecewise_linear(image, [0, 0, 0, 2], [0, 10, 20, 30]), [10, 20, 30])


@given(
    st.lists(st.floats(-1e4, 1e4, width=32), min_size=2, max_size=11),
    st.lists(st.floats(-1e4, 1e4, width=32), min_size=5, max_size=30),
)
def test_any_landmarks_map_monotonically(own, values):
    image = np.sort(np.array(values, dtype=np.float32)).reshape(1, 1, -1)
    result = piecewise_linear(image, sorted(own), np.linspace(0, 100, len(own)))
    assert np.isfinite(result).all()
    assert (np.diff(result) >= -1e-3 * np.abs(result[..., 1:])).all()


def test_after_the_bias_field_if_asked_for():
    z, y, x = np.meshgrid(np.linspace(-1, 1, 8), *[np.linspace(-1, 1, 40)] * 2, indexing="ij")
    tissue = np.where(np.sin(9 * x) * np.cos(8 * y) > 0, 200, 100) + np.random.default_rng(0).normal(0, 3, z.shape)
    image, skewed = tissue.astype(np.float32), (tissue * np.exp(0.3 * x + 0.2 * z)).astype(np.float32)
    landmarks = fit_landmarks([landmark_percentiles(image, masked=True)])
    plain = NyulZScore(landmarks=landmarks, masked=True)
    corrected = NyulZScore(landmarks=landmarks, masked=True, bias_field={"shrink": 2, "iterations": [20, 20]})
    even = plain(image)
    assert np.abs(corrected(skewed) - even).mean() < 0.2 * np.abs(plain(skewed) - even).mean()
