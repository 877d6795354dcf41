from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoseg.errors import ImageError
from autoseg.evaluation.energy_distance import generalized_energy_distance
from autoseg.images.volumes import read_labels

CLASSES = {"a": (1,), "b": (2,), "both": (1, 2)}
SEEDS = st.integers(0, 1000)


def maps(count, seed=0):
    return list(np.random.default_rng(seed).choice([0, 0, 1, 2], size=(count, 2, 4, 5)).astype(np.uint8))


def mean_distance(some, others, values):
    pairs = itertools.product((np.isin(m, values) for m in some), [np.isin(m, values) for m in others])
    return np.mean([1 - (one & other).sum() / (one | other).sum() for one, other in pairs])


@given(SEEDS)
@settings(max_examples=10)
def test_it_is_the_definition(seed):
    predictions, references = maps(3, seed), maps(2, seed + 1)
    found = generalized_energy_distance(predictions, references, CLASSES)
    assert list(found) == list(CLASSES)
    for name, values in CLASSES.items():
        expected = (
            2 * mean_distance(predictions, references, values)
            - mean_distance(predictions, predictions, values)
            - mean_distance(references, references, values)
        )
        assert found[name] == pytest.approx(expected)


@given(SEEDS)
@settings(max_examples=10)
def test_it_is_a_distance_of_distributions(seed):
    one, other = maps(3, seed), maps(2, seed + 1)
    there, back = (generalized_energy_distance(*pair, CLASSES) for pair in ((one, other), (other, one)))
    assert there == pytest.approx(back) and min(there.values()) >= 0
    # In any order and any number of times, as long as the shares are the same.
    same = generalized_energy_distance(one, [*reversed(one), *one], CLASSES)
    assert same == pytest.approx(dict.fromkeys(CLASSES, 0.0))


def test_raters_who_differ_are_met_by_hypotheses_that_do():
    nothing, square = np.zeros((2, 1, 4, 4), dtype=np.uint8)
    square[0, 1:3, 1:3] = 1
    raters = [nothing, square]
    found = [
        generalized_energy_distance(predicted, raters, {"a": (1,)})["a"]
        for predicted in ([nothing, square], [square], [nothing])
    ]
    assert found == [0.0, 0.5, 0.5]


def test_maps_that_cannot_be_compared_are_named():
    with pytest.raises(ImageError, match="references: found no label map"):
        generalized_energy_distance(maps(1), [], CLASSES)
    with pytest.raises(ImageError):
        generalized_energy_distance(maps(1), [maps(1)[0][:, 1:]], CLASSES)


@pytest.mark.real_data
def test_two_experts_are_nearer_to_both_of_them_than_either_alone(real_data):
    folder = real_data / "hn_two_raters_labels"
    first = sorted((folder / "labels_oncologist").rglob("*.nrrd"))[0]
    other = folder / "labels_radiographer" / first.parent.name / first.name
    raters = [read_labels(path)[0] for path in (first, other)]
    value = {"organ": tuple(int(v) for v in np.unique(raters[0]) if v)}
    both, one = (generalized_energy_distance(maps, raters, value)["organ"] for maps in (raters, raters[:1]))
    assert both == 0 and 0 < one < 1
