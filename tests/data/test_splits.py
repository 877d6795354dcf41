from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoseg.data.splits import NNUNET_SEED, fold_cases, grouped, kfold, read_splits, stratified, write_splits
from autoseg.errors import DatasetError

NAMES = [f"case_{i:03d}" for i in range(23)]
names = st.lists(st.from_regex(r"[a-z]{1,6}", fullmatch=True), min_size=1, max_size=40, unique=True)


@given(names)
def test_every_case_is_validated_exactly_once(cases):
    splits = kfold(cases)
    assert sorted(name for split in splits for name in split.val) == sorted(cases)
    assert len(splits) == min(5, len(cases))
    for split in splits if len(cases) > 1 else []:
        assert not set(split.train) & set(split.val)
        assert sorted({*split.train, *split.val}) == sorted(cases)


def test_order_of_names_does_not_matter():
    assert kfold(NAMES) == kfold(NAMES[::-1])


def test_groups_are_never_split():
    groups = {name: f"patient_{i // 3}" for i, name in enumerate(NAMES)}
    for split in grouped(NAMES, groups):
        assert not {groups[name] for name in split.train} & {groups[name] for name in split.val}


def test_strata_are_shared_out():
    strata = {name: i % 2 for i, name in enumerate(NAMES)}
    for split in stratified(NAMES, strata):
        ones = sum(strata[name] for name in split.val)
        assert abs(ones - len(split.val) / 2) <= 1


def test_fold_all_is_everything_on_both_sides():
    fold = fold_cases(kfold(NAMES), "all")
    assert fold.train == fold.val == tuple(NAMES)


def test_splits_survive_writing(tmp_path):
    write_splits(tmp_path / "splits.json", kfold(NAMES))
    assert read_splits(tmp_path / "splits.json", NAMES) == kfold(NAMES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "expected a list"),
        ([{"train": ["case_000"]}], "field 'val'"),
        ([{"train": ["case_000"], "val": ["other"]}], "'other' is not in the dataset"),
        ([{"train": ["case_000"], "val": ["case_000"]}], "in train and val"),
        ([{"train": [], "val": ["case_000"]}], "is empty"),
    ],
)
def test_bad_splits_are_named(tmp_path, content, message):
    path = tmp_path / "splits.json"
    path.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=message):
        read_splits(path, NAMES)


def test_unknown_fold():
    with pytest.raises(DatasetError, match="0 to 4 or 'all'"):
        fold_cases(kfold(NAMES), 5)


@pytest.mark.parametrize(("cases", "folds"), [(2, 2), (3, 5), (7, 3), (10, 5), (208, 5), (31, 4)])
def test_folds_are_those_of_nnunet(cases, folds):
    from sklearn.model_selection import KFold

    names = [f"case_{number:03}" for number in range(cases)]
    expected = KFold(min(folds, cases), shuffle=True, random_state=NNUNET_SEED).split(names)
    assert [fold.val for fold in kfold(names, folds)] == [tuple(names[i] for i in held) for _, held in expected]
