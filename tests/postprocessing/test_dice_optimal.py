from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from autoseg.data.dataset import Dataset
from autoseg.errors import WeightsError
from autoseg.images.crop import Box
from autoseg.images.geometry import Geometry
from autoseg.postprocessing import PredictedCase
from autoseg.postprocessing.decoding import BINS, LOWEST_THRESHOLD, NEGLIGIBLE, Argmax, DiceOptimal, best_threshold
from autoseg.postprocessing.label_maps import label_map
from autoseg.postprocessing.scores import Scores
from autoseg.preprocessing.record import PreprocessingRecord

VOXELS = 9
MAPS = np.array(list(product((0, 1), repeat=VOXELS)))
PLAIN = Dataset("made", ("CT",), {"background": 0, "a": 3, "b": 5}, ".nii.gz", ())
REGIONS = Dataset("made", ("CT",), {}, ".nii.gz", (), regions={"whole": (1, 2), "core": (2,)}, region_order=(1, 2))
NOTHING = np.zeros((0, 0, 0), np.uint8)


def optimal(found, dataset):
    return DiceOptimal(dataset)(PredictedCase(found, dataset), NOTHING)


def largest(found, dataset):
    return Argmax(dataset)(PredictedCase(found, dataset), NOTHING)


def expected_dice(probabilities):
    """Average the Dice of every map over every truth that independent voxels may have; 0 for empty maps."""
    whole = MAPS.sum(1)[:, None] + MAPS.sum(1)
    dice = np.divide(2 * MAPS @ MAPS.T, whole, out=np.zeros(whole.shape), where=whole > 0)
    return dice @ np.where(MAPS, probabilities, 1 - probabilities).prod(axis=1)


def scores(*probabilities):
    array = np.array(probabilities, dtype=np.float32).reshape(len(probabilities), 1, 1, -1)
    shape = array.shape[1:]
    geometry = Geometry(shape, (1.0, 1.0, 1.0), (0.0,) * 3, tuple(np.eye(3).ravel()))
    return [Scores(array, PreprocessingRecord(geometry, Box((0, 0, 0), shape), (0, 1, 2), shape, shape, None))]


@given(arrays(np.float64, VOXELS, elements=st.floats(0.02, 1)))
@example(np.array([0.15625, 0.21875, 0.15625, *[0.03125] * 6]))
def test_no_map_is_expected_to_be_better(probabilities):
    expected = expected_dice(probabilities)
    # Where so little can be expected, most voxels are left alone.
    assume(expected.max() > 2 * LOWEST_THRESHOLD)
    taken = probabilities >= best_threshold(probabilities[None])
    (own,) = np.flatnonzero((taken == MAPS).all(axis=1))
    # Voxels whose probabilities differ by less than a bin are taken together.
    assert expected[own] >= expected.max() - 2 / BINS


def test_a_doubtful_whole_structure_is_painted():
    # Certain to be a third: taking all of it gives Dice 0.5, taking nothing 0.
    probabilities = np.full((1, 1, 300), 1 / 3)
    assert best_threshold(probabilities) <= 1 / 3
    # Beside a sure structure of the same size, the doubtful voxels cost more than they bring.
    assert best_threshold(np.concatenate([probabilities, np.ones_like(probabilities)])) > 1 / 3


@given(arrays(np.uint8, 12, elements=st.integers(0, 2)))
def test_where_all_is_sure_it_is_the_largest(indices):
    found = scores(*(np.where(indices == index, 0.98, 0.01) for index in range(3)))
    assert np.array_equal(optimal(found, PLAIN), largest(found, PLAIN))
    assert np.array_equal(largest(found, PLAIN), label_map(found, PLAIN))


def test_a_voxel_that_two_classes_would_take_goes_to_the_more_probable():
    # Class a is sure elsewhere, so that it takes little more; b is nowhere better than here.
    a, b = np.array([1, 1, 1, 1, 0.5, 0.0]), np.array([0, 0, 0, 0, 0.45, 0.45])
    labels = optimal(scores(1 - a - b, a, b), PLAIN)
    assert labels.ravel().tolist() == [3, 3, 3, 3, 5, 5]


def test_regions_are_painted_one_over_the_other():
    labels = optimal(scores([1, 1, 0.6, 0], [0.4, 0.4, 0, 0]), REGIONS)
    assert labels.ravel().tolist() == [2, 2, 1, 0]


def test_probabilities_that_a_byte_does_not_hold_do_not_count():
    probabilities = np.full((100, 100, 100), 0.9 * NEGLIGIBLE)
    probabilities[0, 0, :10] = 0.6
    assert best_threshold(probabilities) == best_threshold(np.where(probabilities < NEGLIGIBLE, 0, probabilities))


def test_a_class_that_is_nowhere_is_not_painted():
    assert not optimal(scores([0.97] * 6, [0.02] * 6, [0.01] * 6), PLAIN).any()


@pytest.mark.parametrize("dataset", [PLAIN, REGIONS], ids=["classes", "regions"])
def test_nan_is_refused(dataset):
    broken = scores(*[[0.5, np.nan]] * dataset.outputs)
    with pytest.raises(WeightsError, match="found NaN or infinity"):
        optimal(broken, dataset)
