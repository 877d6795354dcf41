from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_fill_holes

from autoseg.errors import PlanError
from autoseg.images.statistics import MOST_SAMPLED, mean_and_std, nonzero_mask, percentiles
from autoseg.preprocessing.normalization import normalizations, normalize, output_channels, stored_units


@pytest.fixture
def image():
    return np.random.default_rng(0).normal(100, 20, (4, 10, 12)).astype(np.float32)


def one(image, **spec):
    result = normalize(image[None], (spec,))
    assert result.dtype == np.float32
    return result[0]


def test_ct_is_clipped_to_the_datasets_range(image):
    result = one(image, name="ct", lower=90, upper=110, mean=95, std=5)
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


def test_outliers_are_clipped_to_percentiles(image):
    image[0, 0, :3] = 1e6
    result = one(image, name="percentile", percentages=[2, 98])
    clipped = np.clip(image, *np.percentile(image, [2, 98]))
    assert np.allclose(result, (clipped - clipped.mean()) / clipped.std(), atol=1e-4)
    unit = one(image, name="percentile", percentages=[2, 98], scale="unit")
    assert (unit.min(), unit.max()) == (0, 1)


def test_clipping_to_given_intensities_comes_before_percentiles(image):
    result = one(image, name="percentile", clip=[90, 110], scale="unit")
    assert np.allclose(result, (np.clip(image, 90, 110) - 90) / 20, atol=1e-6)


def test_percentiles_inside_the_mask(image):
    image[:, :5] = 0
    result = one(image, name="percentile", percentages=[10, 90], masked=True)
    inside = image[:, 5:]
    clipped = np.clip(inside, *np.percentile(inside, [10, 90]))
    assert np.allclose(result[:, 5:], (clipped - clipped.mean()) / clipped.std(), atol=1e-4)
    assert not result[:, :5].any()


@pytest.mark.parametrize("gamma", [1.0, 0.5])
def test_uptake_is_scaled_alike_in_all_cases(image, gamma):
    image -= 60
    result = one(image, name="suv", upper=50.0, scale=5.0, gamma=gamma)
    assert np.allclose(result, (np.clip(image, 0, 50) / 5) ** gamma, rtol=1e-5)


def test_channels_and_units(image):
    specs = (
        {"name": "window", "windows": [[40, 400], [300, 1500]]},
        {"name": "ct", "lower": 0.0, "upper": 200.0, "mean": 90.0, "std": 30.0},
        {"name": "z_score"},
    )
    result = normalize(np.stack([image] * 3), specs)
    assert output_channels(specs) == len(result) == 4
    offset, scale = stored_units(specs)[2]
    assert np.allclose(result[2] * scale + offset, np.clip(image, 0, 200), rtol=1e-5)
    assert [units is None for units in stored_units(specs)] == [True, True, False, True]


EVERY_SPEC = [
    {"name": "z_score"},
    {"name": "z_score", "masked": True},
    {"name": "rescale"},
    {"name": "rgb"},
    {"name": "none"},
    {"name": "ct", "lower": -100.0, "upper": 200.0, "mean": 20.0, "std": 0.0},
    {"name": "suv", "upper": 10.0, "scale": 2.0, "gamma": 0.5},
    {"name": "window", "windows": [[40, 400], [0, 0.001]]},
    {"name": "percentile"},
    {"name": "percentile", "scale": "unit", "masked": True},
    {"name": "nyul_z_score", "landmarks": [0, 50, 100], "percentages": [1, 50, 99]},
    {"name": "nyul_z_score", "landmarks": [0, 50, 100], "percentages": [1, 50, 99], "masked": True},
    {"name": "bias_field_z_score", "iterations": [5]},
    {"name": "bias_field_z_score", "iterations": [5], "masked": True},
]
"""Every normalization, in each of its ways."""

ODD_IMAGES = {
    "one voxel": np.full((1, 1, 1), 5.0),
    "two voxels": np.array([[[0.0, 3.0]]]),
    "zeros": np.zeros((3, 9, 9)),
    "constant": np.full((2, 20, 20), -7.3),
    "one bright voxel": np.pad(np.full((1, 1, 1), 1e38), ((2, 3), (9, 10), (9, 10))),
    "a slice": np.random.default_rng(1).normal(10, 3, (1, 30, 40)),
    "a slice of another axis": np.random.default_rng(1).normal(10, 3, (30, 1, 40)),
    "a line": np.random.default_rng(1).normal(10, 3, (1, 1, 400)),
    "huge values": np.random.default_rng(1).choice([-3e38, 1.0, 3e38], (6, 20, 20)),
    "tiny values": np.random.default_rng(1).normal(10, 3, (6, 20, 20)) * 1e-42,
    "below zero": np.random.default_rng(1).normal(-1000, 30, (8, 20, 20)),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("odd", ODD_IMAGES)
@pytest.mark.parametrize("spec", EVERY_SPEC, ids=str)
def test_odd_images_give_finite_numbers_and_are_not_changed(spec, odd):
    image = ODD_IMAGES[odd].astype(np.float32)
    given = image.copy()
    result = normalize(image[None], (spec,))
    assert result.shape == (output_channels((spec,)), *image.shape)
    assert np.isfinite(result).all()
    assert np.array_equal(image, given)


def test_every_normalization_is_among_them():
    assert {spec["name"] for spec in EVERY_SPEC} == set(normalizations.names())


@pytest.mark.parametrize("spec", [spec for spec in EVERY_SPEC if "z_score" in spec["name"]], ids=str)
def test_z_scores_end_with_no_mean_and_a_deviation_of_one(spec, image):
    image[:, :4] = 0
    result = one(image, **spec)
    inside = result[:, 4:] if spec.get("masked") else result
    assert (inside.mean(), inside.std()) == (pytest.approx(0, abs=1e-4), pytest.approx(1, abs=1e-4))


def test_moments_of_more_voxels_than_are_computed_at_once():
    values = np.random.default_rng(0).normal(1e4, 3, 700_001).astype(np.float32)
    mean, std = mean_and_std(values)
    assert mean == pytest.approx(values.mean(dtype=np.float64), rel=1e-12)
    assert std == pytest.approx(values.std(dtype=np.float64), rel=1e-9)


def test_percentiles_of_many_voxels_are_those_of_a_sample_but_for_the_ends():
    values = np.random.default_rng(0).uniform(0, 100, MOST_SAMPLED + 1000).astype(np.float32)
    found = percentiles(values, [0, 0.5, 50, 99.5, 100])
    assert (found[0], found[-1]) == (values.min(), values.max())
    assert np.allclose(found, np.percentile(values, [0, 0.5, 50, 99.5, 100]), atol=0.1)
    assert found == percentiles(values, [0, 0.5, 50, 99.5, 100])


@given(st.integers(0, 2**31), st.tuples(*[st.integers(2, 7)] * 3))
@settings(max_examples=30)
def test_the_mask_is_filled_as_scipy_fills_it(seed, shape):
    image = np.random.default_rng(seed).choice([0, 0, 0, 1], shape)
    assert np.array_equal(nonzero_mask(image), binary_fill_holes(image != 0))


def test_a_slice_is_filled_in_its_plane():
    ring = np.ones((1, 5, 5))
    ring[0, 2, 2] = 0
    assert nonzero_mask(ring).all()


BAD_ARGUMENTS = {
    "percentages that descend": ({"name": "percentile", "percentages": [98, 2]}, "'percentages': found .98, 2."),
    "three percentages": ({"name": "percentile", "percentages": [2, 50, 98]}, "'percentages'.*two numbers"),
    "a percentage of 101": ({"name": "percentile", "percentages": [2, 101]}, "'percentages'"),
    "an unknown scale": ({"name": "percentile", "scale": "half"}, "'scale': found 'half'"),
    "a window without width": ({"name": "window", "windows": [[40, 0]]}, "'windows': found .*40, 0.*a width above 0"),
    "a window of one number": ({"name": "window", "windows": [[40]]}, "'windows'"),
    "a window that is not in a list": ({"name": "window", "windows": [40, 400]}, "'windows'"),
    "no windows": ({"name": "window", "windows": []}, "'windows'"),
    "an infinite window": ({"name": "window", "windows": [[0, float("inf")]]}, "'windows'"),
    "an output that descends": ({"name": "window", "windows": [[40, 400]], "output": [1, 0]}, "'output'"),
    "uptake below zero": ({"name": "suv", "lower": -1.0, "upper": 5.0, "scale": 1.0}, "'lower': found -1.0"),
    "a scale of zero": ({"name": "suv", "upper": 5.0, "scale": 0.0}, "'scale': found 0.0, expected a number above 0"),
    "a ct range that descends": (
        {"name": "ct", "lower": 9.0, "upper": 1.0, "mean": 0.0, "std": 1.0},
        "'lower, upper': found .9.0, 1.0.",
    ),
    "a negative deviation": (
        {"name": "ct", "lower": 0.0, "upper": 1.0, "mean": 0.0, "std": -1.0},
        "'std': found -1.0",
    ),
    "landmarks too few": ({"name": "nyul_z_score", "landmarks": [0, 1]}, "'landmarks': found .0, 1., expected 11"),
    "landmarks that descend": (
        {"name": "nyul_z_score", "landmarks": [5, 1], "percentages": [1, 99]},
        "'landmarks': found .5, 1., expected 2 ascending",
    ),
    "a fault of the bias field's": (
        {"name": "nyul_z_score", "landmarks": [0, 1], "percentages": [1, 99], "bias_field": {"shrink": 0}},
        "'bias_field_z_score', argument 'shrink': found 0",
    ),
    "an iteration of zero": ({"name": "bias_field_z_score", "iterations": [0]}, "'iterations'"),
    "a text for a number": (
        {"name": "ct", "lower": "0", "upper": 1.0, "mean": 0.0, "std": 1.0},
        "'lower': found '0'",
    ),
}


@pytest.mark.parametrize("fault", BAD_ARGUMENTS)
def test_arguments_that_cannot_be_used_are_named(fault):
    spec, message = BAD_ARGUMENTS[fault]
    with pytest.raises(PlanError, match=message) as error:
        output_channels((spec,))
    assert "\n" not in str(error.value)


def test_what_no_normalization_takes_is_named(image):
    with pytest.raises(PlanError, match="'zscore'"):
        one(image, name="zscore")
    with pytest.raises(PlanError, match="upper"):
        one(image, name="z_score", upper=3)
