from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from autoseg.augmentation.spatial import Rotation, Scaling, Spatial, SpatialParameters, resample


def spatial(patch, spacing=None, *, rotation=1.0, scaling=1.0):
    return Spatial(patch, spacing or (1.0,) * len(patch), Rotation(rotation), Scaling(scaling))


def matrix_of(transform, seed=0):
    return np.array(transform.sample(np.random.default_rng(seed)).matrix)


def parameters(matrix):
    return SpatialParameters(tuple(tuple(float(n) for n in row) for row in matrix))


@given(st.integers(0, 10_000), st.sampled_from([(10, 12, 14), (15, 12), (4, 17, 17)]))
@settings(max_examples=30)
def test_the_source_covers_the_patch_and_no_more(seed, patch):
    transform = spatial(patch, (2.0, 1.0, 1.0)[-len(patch) :])
    drawn = transform.sample(np.random.default_rng(seed))
    size = np.array(transform.source_size(drawn))
    corners = np.array(np.meshgrid(*[[-(n - 1) / 2, (n - 1) / 2] for n in patch])).reshape(len(patch), -1)
    reach = np.abs(np.array(drawn.matrix) @ corners).max(axis=1)
    assert (reach <= (size - 1) / 2 + 1e-9).all()
    assert ((size == patch) | (reach > (size - 1) / 2 - 1)).all()
    assert ((size - np.array(patch)) % 2 == 0).all()


def test_without_a_transformation_the_source_is_the_patch():
    still = spatial((10, 12), rotation=0.0, scaling=0.0)
    assert still.sample(np.random.default_rng(0)) is None
    assert still.source_size(None) == (10, 12)


def test_what_is_read_leaves_no_border_in_the_patch():
    transform = spatial((10, 12, 14), (2.0, 1.0, 1.0))
    for seed in range(10):
        drawn = transform.sample(np.random.default_rng(seed))
        size = transform.source_size(drawn)
        moved, labels = resample([torch.ones(1, *size)], [torch.ones(size, dtype=torch.uint8)], [drawn], (10, 12, 14))
        torch.testing.assert_close(moved, torch.ones_like(moved), atol=1e-4, rtol=0)
        assert (labels == 1).all()


def test_rotation_keeps_millimetres():
    # A turn of anisotropic voxels is rigid in millimetres: its matrix there is orthogonal.
    spacing = np.array([3.0, 1.0, 0.5])
    rigid = np.diag(spacing) @ matrix_of(spatial((16, 16, 16), tuple(spacing), scaling=0.0)) @ np.diag(1 / spacing)
    np.testing.assert_allclose(rigid @ rigid.T, np.eye(3), atol=1e-9)
    assert not np.allclose(rigid, np.eye(3), atol=0.01)


def test_scaling_is_one_factor_for_all_axes():
    matrix = matrix_of(spatial((16, 16, 16), (3.0, 1.0, 0.5), rotation=0.0))
    np.testing.assert_allclose(matrix, matrix[0, 0] * np.eye(3))
    assert 0.7 <= matrix[0, 0] <= 1.4


def test_flat_patches_turn_within_slices():
    matrix = matrix_of(spatial((4, 32, 32), (5.0, 1.0, 1.0)), seed=1)
    np.testing.assert_allclose(matrix[0], [1, 0, 0])
    np.testing.assert_allclose(matrix[:, 0], [1, 0, 0])
    assert not np.allclose(matrix[1:, 1:], np.eye(2), atol=0.01)


@pytest.mark.parametrize(("patch", "most"), [((32, 32), 180), ((32, 16), 15), ((4, 32, 32), 180), ((4, 32, 16), 15)])
def test_rotation_in_the_plane_is_free_but_in_oblong_patches(patch, most):
    matrices = [matrix_of(spatial(patch, scaling=0.0), seed) for seed in range(200)]
    degrees = [abs(np.degrees(np.arctan2(m[-1, -2], m[-1, -1]))) for m in matrices]
    assert 0.9 * most < max(degrees) <= most


def test_rotation_in_space_is_bounded():
    matrices = [matrix_of(spatial((16, 16, 16), scaling=0.0), seed) for seed in range(200)]
    # The z axis is tilted by at most two turns of 30 degrees.
    tilts = [np.degrees(np.arccos(np.clip(m[0, 0], -1, 1))) for m in matrices]
    assert 30 < max(tilts) <= 42


@pytest.mark.parametrize("shape", [(9, 11, 13), (15, 12)])
def test_resampling_is_scipys(shape):
    source = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    matrix = matrix_of(spatial(shape), seed=3)
    centre = (np.array(shape) - 1) / 2
    expected = ndimage.affine_transform(source, matrix, centre - matrix @ centre, order=1, mode="grid-constant")
    labels = torch.zeros(shape, dtype=torch.int16)
    moved, _ = resample([torch.from_numpy(source)[None]], [labels], [parameters(matrix)], shape)
    np.testing.assert_allclose(moved[0, 0].numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
def test_labels_are_the_class_with_the_largest_share(dtype):
    shape = (12, 14, 10)
    blocks = np.random.default_rng(0).integers(0, 5, (3, 7, 5)).astype(dtype)
    labels = blocks.repeat(4, axis=0).repeat(2, axis=1).repeat(2, axis=2)
    matrix = matrix_of(spatial(shape), seed=5)
    centre = (np.array(shape) - 1) / 2
    shares = [
        ndimage.affine_transform(
            (labels == value).astype(float),
            matrix,
            centre - matrix @ centre,
            order=1,
            mode="grid-constant",
            cval=value == 0,
        )
        for value in range(5)
    ]
    _, moved = resample([torch.zeros(1, *shape)], [torch.from_numpy(labels)], [parameters(matrix)], shape)
    assert moved.numpy().dtype == dtype
    clear = np.diff(np.sort(shares, axis=0)[-2:], axis=0)[0] > 1e-4
    assert clear.mean() > 0.95
    np.testing.assert_array_equal(moved[0].numpy()[clear], np.argmax(shares, axis=0)[clear])


def test_many_classes_take_the_nearest_voxel():
    labels = np.arange(1, 37, dtype=np.int16).reshape(6, 6)
    quarter_turn = parameters([[0.0, -1.0], [1.0, 0.0]])
    _, moved = resample([torch.zeros(1, 6, 6)], [torch.from_numpy(labels)], [quarter_turn], (6, 6))
    # Row and column of the result come from minus the column and the row: a quarter turn clockwise.
    np.testing.assert_array_equal(moved[0].numpy(), np.rot90(labels, k=-1))


def test_samples_of_different_sizes_keep_their_centres():
    still = parameters(np.eye(2))
    small, large = torch.randn(1, 4, 6), torch.randn(1, 8, 10)
    labels = [torch.zeros(one.shape[1:], dtype=torch.uint8) for one in (small, large)]
    moved, _ = resample([small, large], labels, [still, still], (4, 6))
    torch.testing.assert_close(moved[0], small, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(moved[1], large[:, 2:6, 2:8], atol=1e-5, rtol=1e-5)


def test_labels_below_zero_are_classes_as_well():
    labels = torch.tensor([[-1, -1, 0, 2], [-128, 0, 127, 2]], dtype=torch.int8)
    _, moved = resample([torch.zeros(1, 2, 4)], [labels], [parameters(np.eye(2))], (2, 4))
    assert torch.equal(moved[0], labels)
