from __future__ import annotations

import numpy as np
import pytest

from autoseg.errors import PlanError
from autoseg.preprocessing.normalization import normalize
from autoseg.preprocessing.normalization.statistics import nonzero_mask


@pytest.fixture
def image():
    return np.random.default_rng(0).normal(100, 20, (4, 10, 12)).astype(np.float32)


def one(image, **spec):
    result = normalize(image[None], (spec,))
    assert result.dtype == np.float32
    return result[0]


def test_ct_is_clipped_to_the_datasets_range(image):
    result = one(image, name="ct", lower=90, upper=110, mean=95, deviation=5)
    assert np.allclose(result, (np.clip(image, 90, 110) - 95) / 5, atol=1e-5)
    assert (result.min(), result.max()) == (-1, 3)


def test_z_score_is_of_the_case_itself(image):
    result = one(image, name="z_score")
    assert np.allclose(result, (image - image.mean()) / image.std(), atol=1e-4)


def test_a_masked_z_score_fills_holes_and_leaves_the_outside_zero(image):
    masked = np.zeros_like(image)
    masked[:, 2:8, 3:9] = image[:, 2:8, 3:9]
    masked[1:3, 5, 5] = 0
    mask = nonzero_mask(masked)
    result = one(masked, name="z_score", masked=True)
    inside = masked[mask]
    assert (result[~mask] == 0).all()
    assert np.allclose(result[mask], (inside - inside.mean()) / inside.std(), atol=1e-4)


def test_holes_belong_to_the_mask():
    ball = np.ones((5, 5, 5))
    ball[2, 2, 2] = 0
    assert nonzero_mask(ball).all()


def test_rescaling(image):
    result = one(image, name="rescale")
    assert (result.min(), result.max()) == (0, 1)
    assert np.allclose(one(image, name="rgb") * 255, image, rtol=1e-5)
    assert np.array_equal(one(image, name="none"), image)


def test_every_channel_has_its_own(image):
    result = normalize(np.stack([image, image]), ({"name": "none"}, {"name": "rescale"}))
    assert np.array_equal(result[0], image)
    assert result[1].max() == 1


@pytest.mark.parametrize("value", [0, 7])
@pytest.mark.parametrize(
    "spec", [{"name": "z_score"}, {"name": "z_score", "masked": True}, {"name": "rescale"}], ids=str
)
def test_a_constant_image_becomes_zeros(spec, value):
    assert not one(np.full((2, 3, 4), value, np.float32), **spec).any()


def test_what_no_normalization_takes_is_named(image):
    with pytest.raises(PlanError, match="'zscore'"):
        one(image, name="zscore")
    with pytest.raises(PlanError, match="upper"):
        one(image, name="z_score", upper=3)
