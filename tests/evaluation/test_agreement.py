from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoseg.errors import ImageError
from autoseg.evaluation.agreement import agreement
from autoseg.evaluation.metrics import evaluate_case
from autoseg.evaluation.overlap import mean_defined

CLASSES = {"a": (1,), "b": (2,), "both": (1, 2), "far": (300,)}


def maps(count, seed=0):
    return list(np.random.default_rng(seed).choice([0, 0, 1, 2], size=(count, 4, 5, 6)).astype(np.uint8))


@given(count=st.integers(2, 4), seed=st.integers(0, 1000))
@settings(max_examples=15)
def test_it_is_the_mean_of_the_pairs_dice(count, seed):
    found = agreement(maps(count, seed), CLASSES)
    for name in ("a", "b", "both"):
        dice = [
            evaluate_case(one, other, spacing=(1, 1, 1), classes=CLASSES)[name].dice
            for one, other in itertools.combinations(maps(count, seed), 2)
        ]
        assert found[name] == pytest.approx(np.mean(dice))
    assert math.isnan(found["far"])


def test_the_same_maps_agree_and_others_do_not():
    (one,) = maps(1)
    assert agreement([one, one, one], CLASSES)["both"] == 1
    assert agreement([one == 1, one == 2], {"a": (1,)})["a"] == 0
    assert math.isnan(agreement([one], CLASSES)["a"]), "a single map agrees with nobody"


def test_pairs_without_a_class_do_not_count():
    empty, some = np.zeros((3, 3, 3), np.uint8), np.ones((3, 3, 3), np.uint8)
    assert agreement([empty, empty, some], {"a": (1,)})["a"] == 0
    assert math.isnan(agreement([empty, empty], {"a": (1,)})["a"])


def test_the_mean_is_over_the_classes_that_are_there():
    assert mean_defined([0.5, 1.0, math.nan]) == 0.75
    assert math.isnan(mean_defined([math.nan]))


def test_maps_of_other_shapes_are_refused():
    with pytest.raises(ImageError, match="found shape"):
        agreement([np.zeros((2, 2, 2), int), np.zeros((2, 2, 3), int)], {"a": (1,)})
