from __future__ import annotations

from pathlib import Path

import pytest

from autoseg.data.counts import kinds_in_words, sites_in_words, tags_in_words
from autoseg.data.dataset import Case, Dataset
from autoseg.data.kinds import cases_of, kind_counts, kind_of, labelled, labelled_part, numbered
from autoseg.data.splits import Fold
from autoseg.errors import DatasetError

CASES = tuple(Case(name, (Path(name),), Path(name) if name in "ac" else None) for name in "abcde")
DATASET = Dataset(
    "set",
    ("T1",),
    {"background": 0, "x": 1},
    ".mha",
    CASES,
    tags={"a": ("big",), "d": (), "b": ("big", "small")},
    sites={"a": "north", "b": "south", "d": "south"},
)


def test_a_case_is_labelled_tagged_or_unlabelled():
    assert [kind_of(DATASET, name) for name in "abcde"] == ["labelled", "tagged", "labelled", "tagged", "unlabelled"]
    assert kind_counts(DATASET) == {"labelled": 2, "tagged": 2, "unlabelled": 1}


def test_selection_keeps_the_order():
    assert labelled(DATASET, ["e", "c", "b", "a"]) == ("c", "a")
    assert labelled(DATASET) == ("a", "c")
    assert cases_of(DATASET, "edcba", "tagged") == ("d", "b")
    assert labelled_part(DATASET, Fold(("a", "b"), ("c", "e"))) == Fold(("a",), ("c",))


def test_an_unknown_case():
    with pytest.raises(DatasetError, match="found no case 'z'"):
        cases_of(DATASET, ["a", "z"], "labelled")


def test_numbers_of_labelled_cases_do_not_depend_on_the_others():
    assert [(number, case.name) for number, case in numbered(CASES)] == [
        (0, "a"),
        (0, "b"),
        (1, "c"),
        (1, "d"),
        (2, "e"),
    ]
    assert [number for number, case in numbered([CASES[0], CASES[2]])] == [0, 1]


def test_counts_in_words():
    assert kinds_in_words(DATASET, sparse=1) == "2 labelled (1 of them sparse), 2 tagged, 1 unlabelled"
    assert tags_in_words(DATASET) == "big in 2, small in 1 of 3 cases with tags"
    assert sites_in_words(DATASET) == "north 1, south 2, not stated 2"
