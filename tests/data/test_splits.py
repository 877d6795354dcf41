from __future__ import annotations

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from autoseg.data.splits import (
    NNUNET_SEED,
    Fold,
    fold_cases,
    grouped,
    kfold,
    read_splits,
    stratified,
    with_others,
    write_splits,
)
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


KINDS = ("labelled", "tagged", "unlabelled")
counts = st.tuples(st.integers(2, 30), st.integers(0, 12), st.integers(0, 30))


def of_kinds(sizes):
    """Return names of each kind that differ in their order."""
    return [[f"{number:02d} {kind}" for number in range(size)] for kind, size in zip(KINDS, sizes, strict=True)]


def divided(sizes, groups=None):
    known, *others = of_kinds(sizes)
    labelled = grouped(known, groups) if groups else kfold(known)
    return labelled, with_others(labelled, others, groups)


def held_out(split, kind):
    return tuple(name for name in split.val if name.endswith(f" {kind}"))


@given(counts)
def test_every_fold_holds_out_an_equal_share_of_each_kind(sizes):
    labelled, splits = divided(sizes)
    everything = sorted(name for names in of_kinds(sizes) for name in names)
    once = [name for split in splits for name in split.val]
    shared = [kind for kind, size in zip(KINDS, sizes, strict=True) if kind == "labelled" or size >= len(splits)]
    assert sorted(once) == [name for name in everything if name.split()[1] in shared]
    for split in splits:
        assert sorted([*split.train, *split.val]) == everything
        assert all(
            any(name.endswith(kind) for name in split.train) for kind, n in zip(KINDS, sizes, strict=True) if n > 1
        )
    for kind in KINDS:
        shares = [len(held_out(split, kind)) for split in splits]
        assert max(shares) - min(shares) <= 1
    assert [held_out(split, "labelled") for split in splits] == [split.val for split in labelled]


@given(counts, st.integers(2, 9), st.randoms(use_true_random=False))
def test_groups_of_several_kinds_are_never_split(sizes, patients, random):
    names = [name for kind in of_kinds(sizes) for name in kind]
    groups = {name: f"patient {random.randrange(patients)}" for name in names if random.random() < 0.8}
    assume(len({groups.get(name, name) for name in of_kinds(sizes)[0]}) > 1)
    labelled, splits = divided(sizes, groups or {"nobody": "x"})
    once = [name for split in splits for name in split.val]
    assert len(set(once)) == len(once) and {*once} >= {*of_kinds(sizes)[0]}
    for split, alone in zip(splits, labelled, strict=True):
        shared = {groups.get(name, name) for name in split.train} & {groups.get(name, name) for name in split.val}
        assert not shared
        assert held_out(split, "labelled") == alone.val != ()


def test_groups_without_a_labelled_case_are_balanced_by_kind():
    groups = {f"{number:02d} {kind}": f"{kind} {number // 2}" for kind in KINDS for number in range(20)}
    _, splits = divided((20, 20, 20), groups)
    assert [len(held_out(split, kind)) for kind in KINDS for split in splits] == [4] * 15


def test_the_only_labelled_case_is_on_both_sides_and_the_others_train():
    _, (fold,) = divided((1, 2, 1))
    assert fold.val == ("00 labelled",)
    assert fold.train == ("00 labelled", "00 tagged", "00 unlabelled", "01 tagged")


def test_folds_need_a_labelled_case_on_each_side(tmp_path):
    path, names = tmp_path / "splits.json", ["a", "b", "c", "d"]
    for fold, side in ((Fold(("a", "c"), ("d",)), "val"), (Fold(("d",), ("a", "c")), "train")):
        write_splits(path, [fold])
        assert read_splits(path, names) == [fold]
        with pytest.raises(DatasetError, match=f"fold 0: no case in {side} has a label map, expected at least one"):
            read_splits(path, names, labelled=["a", "b"])
    write_splits(path, [Fold(("a", "c"), ("a",))])
    assert read_splits(path, names, labelled=["a"])
    with pytest.raises(DatasetError, match="case 'a' is in train and val"):
        read_splits(path, names, labelled=["a", "b"])
