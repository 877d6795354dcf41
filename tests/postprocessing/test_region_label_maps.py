"""Regions, from sigmoid outputs to a label map."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from torch import nn

from autoseg.data.dataset import Dataset
from autoseg.errors import WeightsError
from autoseg.images.crop import Box
from autoseg.images.geometry import Geometry
from autoseg.inference.sliding_window import TilingSettings, predict_probabilities
from autoseg.postprocessing.label_maps import label_map, probabilities_on_grid
from autoseg.postprocessing.scores import Scores
from autoseg.preprocessing.record import PreprocessingRecord
from autoseg.preprocessing.resample import resample_image

REGIONS = {"whole": (4, 7, 300), "core": (7, 300), "rest": (9,)}
DATASET = Dataset("d", ("MRI",), {}, ".nii.gz", (), regions=REGIONS, region_order=(4, 300, 9))
SIZE, BOX = (6, 9, 8), Box((1, 2, 0), (5, 8, 7))


def scores(order=(0, 1, 2), shape=None, seed=0, separate_axis=None, regions=3):
    cropped = tuple(BOX.shape[axis] for axis in order)
    shape = shape or cropped
    geometry = Geometry(SIZE, (3.0, 1.0, 1.0), (0, 0, 0), tuple(np.eye(3).ravel()))
    probabilities = np.random.default_rng(seed).random((regions, *shape)).astype(np.float32)
    return Scores(probabilities, PreprocessingRecord(geometry, BOX, order, cropped, shape, separate_axis))


def painted_voxel_by_voxel(shares):
    """Write regions by the plainest loop there is."""
    order, cropped = shares[0].preprocessing.transpose, shares[0].preprocessing.cropped_shape
    grids = [
        resample_image(share.probabilities, cropped, order=1, separate_axis=share.preprocessing.separate_axis)
        for share in shares
    ]
    mean = np.mean(grids, axis=0)
    labels = np.zeros(SIZE, np.int64)
    for place in np.ndindex(*cropped):
        position = [0, 0, 0]
        for axis, index in zip(order, place, strict=True):
            position[axis] = BOX.start[axis] + index
        for region, value in enumerate(DATASET.region_order):
            if mean[(region, *place)] > 0.5:
                labels[tuple(position)] = value
    return labels


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize(("shape", "separate_axis"), [(None, None), ((3, 11, 5), None), ((3, 11, 5), 0)])
def test_regions_are_painted_in_their_order(order, shape, separate_axis):
    share = scores(order, shape, separate_axis=separate_axis)
    labels = label_map([share], DATASET)
    assert np.array_equal(labels, painted_voxel_by_voxel([share]))
    assert set(np.unique(labels)) == {0, 4, 9, 300}


def test_configurations_are_averaged_before_the_threshold():
    shares = [scores(shape=(3, 11, 5), seed=1), scores(shape=(5, 6, 7), seed=2)]
    assert np.array_equal(label_map(shares, DATASET), painted_voxel_by_voxel(shares))


def test_what_is_saved_is_what_is_painted():
    share = scores(shape=(3, 11, 5))
    saved = probabilities_on_grid([share], DATASET)
    assert saved.dtype == np.float16 and saved.shape == (3, *SIZE)
    assert not saved[:, 0].any(), "outside the crop there is no region"
    labels, clear = label_map([share], DATASET), (np.abs(saved.astype(np.float32) - 0.5) > 1e-3).all(axis=0)
    painted = np.zeros(SIZE, np.int64)
    for region, value in enumerate(DATASET.region_order):
        painted[saved[region] > 0.5] = value
    assert np.array_equal(painted[clear], labels[clear])


def test_memory_does_not_grow_with_the_number_of_regions():
    def peak(regions):
        named = {f"r{value}": (value,) for value in range(1, regions + 1)}
        many = Dataset("d", ("MRI",), {}, ".nii.gz", (), regions=named, region_order=tuple(range(1, regions + 1)))
        share = scores(shape=(3, 11, 5), regions=regions)
        preprocessing = PreprocessingRecord(
            share.preprocessing.geometry, Box((0, 0, 0), (64, 64, 64)), (0, 1, 2), (64, 64, 64), (3, 11, 5), None
        )
        large = Geometry((64, 64, 64), (1.0, 1.0, 1.0), (0, 0, 0), tuple(np.eye(3).ravel()))
        tracemalloc.start()
        label_map(
            [Scores(share.probabilities, PreprocessingRecord(large, *list(vars(preprocessing).values())[1:]))], many
        )
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(2)
    assert peak(12) < 1.1 * peak(2)


def test_scores_that_are_no_numbers():
    share = scores()
    share.probabilities[1, 0, 0, 0] = np.nan
    with pytest.raises(WeightsError, match="scores of region 1: found NaN"):
        label_map([share], DATASET)


class Echo(nn.Module):
    """Returns its channels as logits."""

    divisor = (1, 1, 1)

    def forward(self, x):
        return [x]


@pytest.mark.parametrize("patch", [(6, 6, 6), (4, 5, 3)])
def test_regions_have_a_sigmoid_each(patch):
    image = np.random.default_rng(0).normal(size=(3, 6, 6, 6)).astype(np.float32)
    settings = TilingSettings(patch, 3, activation="sigmoid")
    found = predict_probabilities([Echo()], image, settings, torch.device("cpu"))
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-image)), atol=1e-5)
