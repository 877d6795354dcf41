from __future__ import annotations

import itertools

import numpy as np
import pytest

from autoseg.data.dataset import Dataset
from autoseg.errors import WeightsError
from autoseg.images.crop import Box
from autoseg.images.geometry import Geometry
from autoseg.postprocessing.label_maps import label_map, probabilities_on_grid, write_probabilities
from autoseg.postprocessing.scores import Scores
from autoseg.preprocessing.record import PreprocessingRecord
from autoseg.preprocessing.store import read_array

DATASET = Dataset("d", ("CT",), {"background": 0, "a": 3, "b": 7}, ".nii.gz", ())
SIZE, BOX = (6, 9, 8), Box((1, 2, 0), (5, 8, 7))


def scores(order=(0, 1, 2), shape=None, seed=0, separate_axis=None):
    cropped = tuple(BOX.shape[axis] for axis in order)
    shape = shape or cropped
    geometry = Geometry(SIZE, (3.0, 1.0, 1.0), (0, 0, 0), tuple(np.eye(3).ravel()))
    raw = np.random.default_rng(seed).random((3, *shape)).astype(np.float32)
    return Scores(raw / raw.sum(axis=0), PreprocessingRecord(geometry, BOX, order, cropped, shape, separate_axis))


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_axes_and_crop_are_undone(order):
    share = scores(order)
    labels = label_map([share], DATASET)
    inner = np.array([0, 3, 7])[share.probabilities.argmax(axis=0)]
    assert labels.shape == SIZE and set(np.unique(labels)) <= {0, 3, 7}
    assert np.array_equal(labels[BOX.slices].transpose(order), inner)
    outside = np.ones(SIZE, bool)
    outside[BOX.slices] = False
    assert not labels[outside].any()


@pytest.mark.parametrize("separate_axis", [None, 0])
def test_the_label_map_is_the_most_probable_class(separate_axis):
    share = scores(shape=(3, 11, 5), separate_axis=separate_axis)
    probabilities = probabilities_on_grid([share], DATASET).astype(np.float32)
    labels = label_map([share], DATASET)
    winner = np.array([0, 3, 7])[probabilities.argmax(axis=0)]
    top = np.sort(probabilities, axis=0)
    clear = top[-1] - top[-2] > 2e-3
    assert clear.mean() > 0.9
    assert np.array_equal(labels[clear], winner[clear])


def test_probabilities_outside_the_crop_are_background():
    probabilities = probabilities_on_grid([scores()], DATASET)
    assert probabilities.dtype == np.float16
    assert (probabilities[:, 0, 0, 0] == [1, 0, 0]).all()
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=3e-3)


def test_configurations_are_averaged_on_the_files_grid():
    first, second = scores(seed=1), scores(seed=2)
    both = label_map([first, second], DATASET)
    mean = (first.probabilities + second.probabilities) / 2
    assert np.array_equal(both[BOX.slices], np.array([0, 3, 7])[mean.argmax(axis=0)])


def test_a_class_that_never_wins_is_never_written():
    share = scores()
    share.probabilities[1] = 0
    assert 3 not in label_map([share], DATASET)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_probabilities_on_disk_are_those_in_memory(order, tmp_path):
    shares = [scores(order), scores(order, shape=(3, 11, 5), seed=1)]
    write_probabilities(tmp_path / "p.b2nd", shares, DATASET)
    stored = read_array(tmp_path / "p.b2nd")
    assert stored.dtype == np.float16
    assert np.array_equal(stored, probabilities_on_grid(shares, DATASET))


def test_where_scores_are_equal_the_lowest_class_wins():
    share = scores(shape=(4, 6, 7))
    share.probabilities[:] = 1 / 3
    assert not label_map([share], DATASET).any()


@pytest.mark.parametrize("shape", [None, (3, 11, 5)])
def test_a_diverged_network_is_named(shape):
    share = scores(shape=shape)
    share.probabilities[2, 1, 1, 1] = np.nan
    with pytest.raises(WeightsError, match="found NaN or infinity"):
        label_map([share], DATASET)
