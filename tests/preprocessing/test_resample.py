"""Resampling held against scikit-image and scipy, and against the laws it must keep."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates, zoom
from skimage.transform import resize

from autoseg.errors import PlanError, WeightsError
from autoseg.preprocessing.resample import argmax_resampled, resample_image, resample_labels, separate_axis
from autoseg.preprocessing.spline import axis_bands, matrix_rows

lengths = st.integers(1, 24)
shapes = st.tuples(lengths, lengths, lengths)
seeds = st.integers(0, 2**32 - 1)
quick = settings(max_examples=40)

PAIRS = [
    ((20, 31, 17), (26, 20, 33)),
    ((40, 40, 40), (3, 80, 40)),
    ((1, 30, 30), (1, 45, 12)),
    ((1, 9, 9), (5, 1, 20)),
    ((2, 3, 70), (40, 1, 150)),
    ((90, 4, 5), (7, 4, 5)),
    ((8, 8, 8), (8, 8, 8)),
]


def noise(shape, seed=0, scale=1.0, offset=0.0):
    return (np.random.default_rng(seed).standard_normal(shape) * scale + offset).astype(np.float32)


def scikit_resize(volume, shape, order):
    return resize(volume.astype(float), shape, order=order, mode="edge", anti_aliasing=False)


def relative_difference(result, reference, volume):
    return np.abs(result - reference).max() / max(np.ptp(volume), 1e-30)


@pytest.mark.parametrize("order", range(6))
@pytest.mark.parametrize(("shape", "new_shape"), PAIRS)
def test_images_equal_scikit_image(shape, new_shape, order):
    volume = noise(shape)
    result = resample_image(volume[None], new_shape, order=order)
    assert result.dtype == np.float32
    assert result.shape == (1, *new_shape)
    assert relative_difference(result[0], scikit_resize(volume, new_shape, order), volume) < 1e-6


@given(shapes, shapes, st.sampled_from([0, 1, 3]), seeds)
@quick
def test_any_shapes_equal_scikit_image(shape, new_shape, order, seed):
    volume = noise(shape, seed)
    result = resample_image(volume[None], new_shape, order=order)[0]
    assert np.allclose(result, scikit_resize(volume, new_shape, order), atol=2e-6)


def test_nearest_copies_values_exactly():
    volume = noise((13, 22, 9), scale=1e6)
    assert np.array_equal(
        resample_image(volume[None], (26, 11, 30), order=0)[0], scikit_resize(volume, (26, 11, 30), 0)
    )


def test_channels_are_resampled_and_clipped_each_by_itself():
    image = np.stack([noise((9, 10, 11), 1), noise((9, 10, 11), 2, scale=300, offset=-700)])
    result = resample_image(image, (14, 7, 16))
    for channel, resampled in zip(image, result, strict=True):
        assert relative_difference(resampled, scikit_resize(channel, (14, 7, 16), 3), channel) < 1e-6


def test_result_does_not_depend_on_memory_layout_or_type():
    volume = noise((10, 12, 14))
    expected = resample_image(volume[None], (15, 9, 20))
    assert np.array_equal(resample_image(np.asfortranarray(volume)[None], (15, 9, 20)), expected)
    assert np.array_equal(resample_image(volume[None].astype(np.float64), (15, 9, 20)), expected)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("count", [4, 7, 15])
@pytest.mark.parametrize("separate_order", [0, 1])
def test_separate_axis_resizes_slices_then_steps_between_them(axis, count, separate_order):
    volume = noise((7, 7, 7)) + np.arange(7, dtype=np.float32)[:, None, None] * 5
    new_shape = tuple(count if other == axis else 12 for other in range(3))
    slices = [scikit_resize(piece, (12, 12), 3) for piece in np.moveaxis(volume, axis, 0)]
    where = np.clip(7 / count * (np.arange(count) + 0.5) - 0.5, 0, 6)
    grid = np.stack(np.meshgrid(where, np.arange(12), np.arange(12), indexing="ij"))
    expected = map_coordinates(np.stack(slices), grid, order=separate_order, mode="nearest")
    result = resample_image(volume[None], new_shape, separate_axis=axis, separate_order=separate_order)[0]
    assert np.allclose(np.moveaxis(result, axis, 0), expected, atol=1e-5)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize(("size", "new_size"), [(1, 6), (5, 5), (60, 90), (90, 60), (200, 7)])
def test_matrix_equals_scipy_zoom_in_double_precision(size, new_size, order):
    line = np.random.default_rng(3).standard_normal(size)
    expected = zoom(line, new_size / size, order=order, mode="nearest", grid_mode=True) if size != new_size else line
    for start in range(0, new_size, 32):
        rows = slice(start, start + 32)
        window, matrix = matrix_rows(size, new_size, order=order, rows=rows)
        assert np.allclose(matrix @ line[window], expected[rows], atol=1e-12)


def test_matrix_is_cut_into_bands_that_leave_its_zeros_out():
    _, dense = matrix_rows(300, 400, order=3, rows=slice(0, 400))
    rebuilt = np.zeros_like(dense)
    for band in axis_bands(300, 400, 3):
        rebuilt[band.rows, band.columns] = band.weights
        assert band.weights.shape[1] < 70
    assert np.abs(rebuilt - dense).max() < 1e-7


@given(shapes, st.sampled_from([0, 1, 3]), seeds)
@quick
def test_the_same_shape_gives_the_same_image(shape, order, seed):
    image = noise((2, *shape), seed)
    assert np.array_equal(resample_image(image, shape, order=order), image)


@given(shapes, shapes, st.floats(-1e4, 1e4, width=32), st.sampled_from([0, 1, 3]))
@quick
def test_constants_stay_exactly_constant(shape, new_shape, value, order):
    image = np.full((1, *shape), value, dtype=np.float32)
    assert np.array_equal(resample_image(image, new_shape, order=order), np.full((1, *new_shape), np.float32(value)))


@given(shapes, shapes, st.floats(0.1, 10), st.floats(-10, 10), seeds)
@quick
def test_scaling_and_shifting_intensities_commutes_with_resampling(shape, new_shape, scale, shift, seed):
    image = noise((1, *shape), seed)
    before = resample_image((image * scale + shift).astype(np.float32), new_shape)
    assert np.allclose(before, resample_image(image, new_shape) * scale + shift, atol=1e-4)


@given(shapes, shapes, seeds)
@quick
def test_linear_resampling_of_a_sum_is_the_sum_of_both(shape, new_shape, seed):
    one, other = noise((2, 1, *shape), seed)
    both = resample_image(one + other, new_shape, order=1)
    separately = resample_image(one, new_shape, order=1) + resample_image(other, new_shape, order=1)
    assert np.allclose(both, separately, atol=1e-5)


@given(shapes, shapes, st.permutations([0, 1, 2]), seeds)
@quick
def test_exchanging_axes_commutes_with_resampling(shape, new_shape, axes, seed):
    volume = noise(shape, seed)
    expected = resample_image(volume[None], new_shape)[0].transpose(axes)
    result = resample_image(volume.transpose(axes)[None], tuple(new_shape[axis] for axis in axes))[0]
    assert np.allclose(result, expected, atol=2e-6)


def blobs(shape, count, seed=0):
    """A label map of blocks about four voxels wide."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, count, [-(-length // 4) for length in shape])
    for axis in range(3):
        coarse = coarse.repeat(4, axis=axis)
    return coarse[: shape[0], : shape[1], : shape[2]].astype(np.int16)


@pytest.mark.parametrize(("shape", "new_shape"), [((20, 24, 28), (31, 17, 40)), ((9, 40, 40), (36, 30, 30)), *PAIRS])
def test_labels_are_those_whose_resized_mask_is_largest(shape, new_shape):
    labels = blobs(shape, count=6) - 1
    masks = np.stack([scikit_resize(labels == value, new_shape, 1) for value in range(-1, 5)])
    result = resample_labels(labels, new_shape)
    assert result.dtype == labels.dtype
    won = np.take_along_axis(masks, (result + 1)[None].astype(int), axis=0)[0]
    assert np.all(won >= masks.max(axis=0) - 1e-5)


def test_labels_are_large_where_nnunet_sets_them():
    labels = blobs((20, 24, 28), count=5).astype(np.uint8)
    result = resample_labels(labels, (30, 20, 40))
    for value in range(5):
        assert np.all(result[scikit_resize(labels == value, (30, 20, 40), 1) > 0.5 + 1e-6] == value)


def test_labels_along_a_separate_axis_take_the_nearest_slice():
    labels = blobs((5, 20, 20), count=4)
    result = resample_labels(labels, (12, 30, 30), separate_axis=0)
    planes = np.concatenate([resample_labels(plane[None], (1, 30, 30)) for plane in labels])
    nearest = np.floor((np.arange(12) + 0.5) * 5 / 12).astype(int)
    assert np.array_equal(result, planes[nearest])


def test_labels_of_order_zero_equal_nearest_neighbour():
    labels = blobs((11, 12, 13), count=9)
    assert np.array_equal(resample_labels(labels, (20, 6, 13), order=0), scikit_resize(labels, (20, 6, 13), 0))


@given(shapes, shapes, st.sampled_from([0, 1]), seeds)
@quick
def test_resampling_makes_no_new_labels(shape, new_shape, order, seed):
    labels = np.random.default_rng(seed).choice(np.array([-1, 0, 3, 250], dtype=np.int16), size=shape)
    assert set(np.unique(resample_labels(labels, new_shape, order=order))) <= set(np.unique(labels))


@given(shapes, shapes, st.permutations([0, 1, 2]), seeds)
@quick
def test_exchanging_axes_commutes_with_resampling_labels(shape, new_shape, axes, seed):
    labels = np.random.default_rng(seed).integers(0, 4, shape, dtype=np.uint8)
    expected = resample_labels(labels, new_shape).transpose(axes)
    assert np.array_equal(resample_labels(labels.transpose(axes), tuple(new_shape[axis] for axis in axes)), expected)


@pytest.mark.parametrize(("shape", "new_shape"), PAIRS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_argmax_of_resampled_scores(shape, new_shape, dtype):
    scores = np.random.default_rng(5).standard_normal((4, *shape)).astype(dtype)
    reference = np.stack([scikit_resize(score, new_shape, 1) for score in scores])
    result = argmax_resampled(scores, new_shape)
    assert result.dtype == np.uint8
    won = np.take_along_axis(reference, result[None].astype(int), axis=0)[0]
    assert np.all(won >= reference.max(axis=0) - 1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_argmax_with_a_separate_axis(axis):
    scores = noise((3, 9, 9, 9))
    resampled = resample_image(scores, (14, 14, 14), order=1, separate_axis=axis)
    assert np.array_equal(argmax_resampled(scores, (14, 14, 14), separate_axis=axis), resampled.argmax(axis=0))


def test_argmax_keeps_the_lowest_of_equal_classes_and_grows_its_type():
    scores = np.zeros((300, 2, 2, 2), dtype=np.float32)
    scores[299, 0] = 1
    result = argmax_resampled(scores, (2, 2, 2))
    assert result.dtype == np.uint16
    assert result[:, 0, 0].tolist() == [299, 0]


def test_argmax_refuses_scores_that_are_not_finite():
    scores = noise((3, 4, 4, 4))
    scores[1, 2, 2, 2] = np.nan
    with pytest.raises(WeightsError, match="class 1"):
        argmax_resampled(scores, (5, 5, 5))


@pytest.mark.parametrize(
    ("spacing_from", "spacing_to", "expected"),
    [
        ((1, 1, 1), (1.5, 1.5, 1.5), None),
        ((5, 0.7, 0.7), (1, 1, 1), 0),
        ((0.7, 0.7, 5), (1, 1, 1), 2),
        ((1, 1, 1), (1, 4, 1), 1),
        ((3, 1, 1), (1, 1, 1), None),
        ((5, 5, 1), (4, 1, 1), None),
        ((5, 5.0001, 1), (1, 1, 1), None),
    ],
)
def test_which_axis_is_separate(spacing_from, spacing_to, expected):
    assert separate_axis(spacing_from, spacing_to) == expected


def test_the_threshold_of_anisotropy_can_be_set():
    assert separate_axis((2.5, 1, 1), (1, 1, 1), threshold=2) == 0


def test_faults_of_a_plan_are_named():
    image = noise((1, 4, 4, 4))
    with pytest.raises(PlanError, match="found 6, expected 0 to 5"):
        resample_image(image, (5, 5, 5), order=6)
    with pytest.raises(PlanError, match="found 3, expected 0 to 1"):
        resample_labels(image[0].astype(int), (5, 5, 5), order=3)
    with pytest.raises(PlanError, match=r"found shape \(5, 0, 5\)"):
        resample_image(image, (5, 0, 5))
