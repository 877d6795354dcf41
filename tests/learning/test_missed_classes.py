"""Warnings of classes that a training does not find."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoseg.learning.missed_classes import MOST_NAMES, ROUNDS, newly_missed, warn_of_missed_classes

recalls = st.lists(st.sampled_from([0.0, 0.4, None]), max_size=30)


def told_at(history):
    """Validations after which the class is named."""
    return [place for place in range(len(history)) if newly_missed([{"a": r} for r in history[: place + 1]])]


@pytest.mark.parametrize(
    ("history", "told"),
    [
        ([0.0] * 20, [ROUNDS - 1]),
        ([0.0] * (ROUNDS - 1), []),
        ([0.0] * (ROUNDS - 1) + [0.01] + [0.0] * (ROUNDS - 1), []),
        ([0.5, 0.4] + [0.0] * 10, [ROUNDS + 1]),
        ([None] * 20, []),
        ([0.0, None] * 20, [2 * ROUNDS - 2]),
    ],
)
def test_a_class_is_named_when_it_was_missed_often_enough(history, told):
    assert told_at(history) == told


@given(recalls)
def test_no_class_is_named_twice(history):
    known = [r for r in history if r is not None]
    missed = any(known[place : place + ROUNDS] == [0.0] * ROUNDS for place in range(len(known)))
    assert len(told_at(history)) == missed


def test_the_warning_says_what_to_do(caplog):
    line = {"step": 50, "class_recall": {"liver": 0.5, "spleen": 0.0, "eye": None}}
    for count in range(1, 2 * ROUNDS):
        warn_of_missed_classes([line] * count)
    (said,) = caplog.messages
    assert said.startswith("nothing found of spleen in the last 5 validations") and '"balanced"' in said
    assert "\n" not in said


def test_lines_of_an_older_training_have_no_recall(caplog):
    warn_of_missed_classes([{"step": 50, "class_dice": {"a": 0.0}}] * 10)
    warn_of_missed_classes([])
    assert not caplog.messages


def test_not_all_of_a_hundred_are_named(caplog):
    line = {"step": 50, "class_recall": {f"c{number}": 0.0 for number in range(100)}}
    warn_of_missed_classes([line] * ROUNDS)
    assert f"c{MOST_NAMES - 1} and {100 - MOST_NAMES} more" in caplog.messages[0]
