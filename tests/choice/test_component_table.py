from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from autoseg.choice.candidates import chosen_by_others
from autoseg.choice.component_table import Cleaning, Components, _dice, find_cleaning, measure_components
from autoseg.choice.dice import case_dice
from autoseg.data.dataset import Case, Dataset
from autoseg.postprocessing import apply_steps, build_steps
from autoseg.postprocessing.target import find_target

DATASET = Dataset("made", ("CT",), {"background": 0, "a": 1, "b": 2}, ".nii.gz", (Case("c", ()),), ignore=(9,))
SPACING = (2.0, 1.0, 0.5)
CASE = SimpleNamespace(spacing=SPACING)
WAYS = [
    Cleaning(fill, remove, mm3)
    for fill in (False, True)
    for remove, mm3 in (("nothing", 0.0), ("others", 0.0), ("small", 2.5), ("small", 7.5))
]


@given(
    arrays(np.uint8, (3, 5, 6), elements=st.sampled_from([0, 1, 1, 2])),
    arrays(np.uint8, (3, 5, 6), elements=st.sampled_from([0, 1, 1, 2, 9])),
    st.sampled_from(WAYS),
)
def test_the_table_tells_what_the_steps_would_reach(labels, reference, way):
    target, known = find_target(DATASET, "a"), reference != 9
    filled = apply_steps(build_steps(Cleaning(way.fill, "nothing").steps("a"), DATASET), CASE, labels)
    told = _dice(measure_components(filled, reference, target, known=known, voxel_mm3=1.0), way)
    cleaned = apply_steps(build_steps(way.steps("a"), DATASET), CASE, labels)
    assert told == pytest.approx(case_dice(cleaned, reference, DATASET, "c")[0], nan_ok=True)


def components(*sizes_and_right, expected=100):
    sizes, right = np.array(sizes_and_right, dtype=np.int64).reshape(-1, 2).T
    both = Components(sizes.astype(float), sizes, right, expected)
    return both, both


def test_a_volume_between_what_is_right_and_what_is_wrong_is_found():
    found = find_cleaning([components((100 + k, 90), (30, 25), (5 + k, 0)) for k in range(4)])
    assert found.cleaning.remove == "small" and 8 < found.cleaning.mm3 < 30 and found.expected_gain > 0


def test_several_right_pieces_are_left_alone():
    found = find_cleaning([components((50, 45), (45, 40)) for _ in range(4)])
    assert found.cleaning == Cleaning(False, "nothing") and found.expected_gain == 0


def test_one_case_alone_shows_nothing():
    assert find_cleaning([components((100, 90), (30, 0))]).expected_gain == 0
    assert find_cleaning([]).expected_gain == 0


def test_a_gain_that_one_case_dictates_is_not_expected_again():
    cases = [components((100, 90), (30, 0)), *[components((100, 90), (30, 29)) for _ in range(4)]]
    assert find_cleaning(cases).expected_gain <= 0


def test_a_class_that_is_absent_everywhere():
    none = Components(np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64), 0)
    assert find_cleaning([(none, none)] * 3).cleaning == Cleaning(False, "nothing")


def test_each_case_follows_the_others():
    plain, changed = np.array([[0.5], [0.5], [0.5]]), np.array([[0.9], [0.4], [0.4]])
    assert chosen_by_others(plain, changed).ravel().tolist() == [0.5, 0.4, 0.4]
