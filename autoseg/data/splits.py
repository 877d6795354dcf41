"""Cross-validation folds: nnU-Net's random folds, grouped or stratified folds, or folds from the user's file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from autoseg.errors import DatasetError
from autoseg.files.records import from_plain, to_plain
from autoseg.files.storage import read_json, write_json

FOLDS = 5
NNUNET_SEED = 12345
"""The seed of nnU-Net's folds. The same cases are in the same folds, so results are comparable."""


@dataclass(frozen=True)
class Fold:
    """Names of the training and validation cases of one fold."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    train: tuple[str, ...]
    val: tuple[str, ...]


def kfold(names: Sequence[str], folds: int = FOLDS, *, seed: int = NNUNET_SEED) -> list[Fold]:
    """Split sorted names by nnU-Net's rule, which is scikit-learn's shuffled KFold.

    With fewer cases than folds, each case is one fold. A single case is used for both training and validation.
    """
    ordered = sorted(names)
    order = np.arange(len(ordered))
    # The same as KFold(shuffle=True), which a test compares it with: importing scikit-learn takes a second, a tenth of
    # planning and preprocessing a small dataset. The legacy generator's stream is part of nnU-Net's rule.
    np.random.RandomState(seed).shuffle(order)
    return _folds(ordered, np.array_split(order, min(folds, len(ordered))))


def grouped(names: Sequence[str], groups: Mapping[str, str], folds: int = FOLDS) -> list[Fold]:
    """Split so that no group, such as all scans of a patient, is in both train and val; folds have about equal size.

    Groups are assigned in order of size, largest first, to the smallest fold. A case without a group forms its own
    group.
    """
    ordered = sorted(names)
    members: dict[str, list[int]] = {}
    for index, name in enumerate(ordered):
        members.setdefault(_group(name, groups), []).append(index)
    held: list[list[int]] = [[] for _ in range(min(folds, len(members)))]
    for group in sorted(members, key=lambda g: (-len(members[g]), g)):
        min(held, key=len).extend(members[group])
    return _folds(ordered, [np.array(sorted(fold)) for fold in held])


def stratified(names: Sequence[str], strata: Mapping[str, Any], folds: int = FOLDS) -> list[Fold]:
    """Split so that every fold contains about the same share of each stratum.

    Cases are sorted by stratum, in nnU-Net's shuffled order within a stratum, and assigned to the folds in turn.
    """
    ordered = sorted(names)
    order = np.arange(len(ordered))
    np.random.RandomState(NNUNET_SEED).shuffle(order)
    dealt = sorted(order, key=lambda index: strata[ordered[index]])
    count = min(folds, len(ordered))
    return _folds(ordered, [np.array(dealt[fold::count], dtype=int) for fold in range(count)])


def with_others(
    splits: Sequence[Fold], others: Sequence[Sequence[str]], groups: Mapping[str, str] | None = None
) -> list[Fold]:
    """Add cases without a label map to folds of labelled cases; the labelled cases stay in their folds.

    ``others`` lists the names of each further kind. Every fold holds out an equal share of each kind, in nnU-Net's
    shuffled order. With ``groups``, a case follows the labelled cases of its group, and the other groups are assigned
    in order of size to the fold with the fewest cases of their kinds. A kind with fewer cases than folds is only in
    train, except in the groups of labelled cases: a fold would have none to learn from. If the only labelled case is in
    train and val, the others are in train.
    """
    names = [name for kind in others for name in kind]
    if len(splits) == 1:
        return [Fold(train=tuple(sorted([*splits[0].train, *names])), val=splits[0].val)]
    held = _grouped_others(splits, others, groups) if groups else _shuffled_others(len(splits), others)
    return [
        Fold(
            train=tuple(sorted([*split.train, *(name for name in names if name not in ours)])),
            val=tuple(sorted([*split.val, *ours])),
        )
        for split, ours in zip(splits, held, strict=True)
    ]


def _shuffled_others(folds: int, others: Sequence[Sequence[str]]) -> list[set[str]]:
    """Return the cases that each fold holds out, dealt as :func:`kfold` does."""
    held: list[set[str]] = [set() for _ in range(folds)]
    for kind in others:
        if len(kind) < folds:
            continue
        ordered, order = sorted(kind), np.arange(len(kind))
        np.random.RandomState(NNUNET_SEED).shuffle(order)
        for fold, indices in enumerate(np.array_split(order, folds)):
            held[fold] |= {ordered[index] for index in indices}
    return held


def _grouped_others(
    splits: Sequence[Fold], others: Sequence[Sequence[str]], groups: Mapping[str, str]
) -> list[set[str]]:
    """Return the cases that each fold holds out; no group is split."""
    home = {_group(name, groups): fold for fold, split in enumerate(splits) for name in split.val}
    members: dict[str, list[tuple[int, str]]] = {}
    for kind, names in enumerate(others):
        for name in sorted(names):
            members.setdefault(_group(name, groups), []).append((kind, name))
    counts = np.zeros((len(splits), len(others)), dtype=int)
    held: list[set[str]] = [set() for _ in splits]
    # Groups with a labelled case come first, because their fold is given.
    for group in sorted(members, key=lambda g: (g not in home, -len(members[g]), g)):
        kinds = [kind for kind, _ in members[group]]
        if group not in home and all(len(others[kind]) < len(splits) for kind in kinds):
            continue
        fold = home[group] if group in home else int(counts[:, sorted(set(kinds))].sum(axis=1).argmin())
        held[fold] |= {name for _, name in members[group]}
        counts[fold] += np.bincount(kinds, minlength=len(others))
    return held


def _group(name: str, groups: Mapping[str, str]) -> str:
    """Return the group of a case; a case without a group forms its own group."""
    return groups.get(name, f"case {name}")


def _folds(names: Sequence[str], held: Sequence[np.ndarray]) -> list[Fold]:
    everything = range(len(names))
    if len(names) == 1:
        return [Fold(train=(names[0],), val=(names[0],))]
    return [
        Fold(
            train=tuple(names[i] for i in everything if i not in set(indices.tolist())),
            val=tuple(names[i] for i in sorted(indices.tolist())),
        )
        for indices in held
    ]


def fold_cases(splits: Sequence[Fold], fold: int | str) -> Fold:
    """Return fold number ``fold``. ``"all"`` uses every case for both training and validation, as nnU-Net does."""
    if fold == "all":
        names = tuple(sorted({name for split in splits for name in (*split.train, *split.val)}))
        return Fold(train=names, val=names)
    if not isinstance(fold, int) or not 0 <= fold < len(splits):
        raise DatasetError(f"fold {fold}: not in splits.json, expected 0 to {len(splits) - 1} or 'all'")
    return splits[fold]


def write_splits(path: Path, splits: Sequence[Fold]) -> None:
    """Write the folds in nnU-Net's format."""
    write_json(path, to_plain(list(splits)))


def read_splits(path: Path, known: Sequence[str], *, labelled: Sequence[str] | None = None) -> list[Fold]:
    """Read the folds from splits.json; check that all cases are known and that none is in both train and val.

    ``labelled``: the cases with a label map, by default all; each fold needs at least one in train and one in val.
    """
    plain = read_json(path)
    if not isinstance(plain, list) or not plain:
        raise DatasetError(f"{path}: found {type(plain).__name__}, expected a list of folds with 'train' and 'val'")
    splits = [from_plain(Fold, fold, source=f"{path}, fold {i}", error=DatasetError) for i, fold in enumerate(plain)]
    for index, split in enumerate(splits):
        _check_fold(split, f"{path}, fold {index}", known, known if labelled is None else labelled)
    return splits


def _check_fold(split: Fold, place: str, known: Sequence[str], labelled: Sequence[str]) -> None:
    unknown = sorted({*split.train, *split.val} - set(known))
    if unknown:
        raise DatasetError(f"{place}: case '{unknown[0]}' is not in the dataset; correct its name")
    both = sorted(set(split.train) & set(split.val))
    if both and (len(labelled) > 1 or both != list(labelled)):
        raise DatasetError(f"{place}: case '{both[0]}' is in train and val; keep it in one of them")
    for part, names in (("train", split.train), ("val", split.val)):
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise DatasetError(f"{place}: case '{twice}' is listed twice in {part}; remove one of the two")
    if not split.train or not split.val:
        raise DatasetError(f"{place}: train or val is empty, expected at least one case in each")
    for part, names in (("train", split.train), ("val", split.val)):
        if not set(names) & set(labelled):
            raise DatasetError(
                f"{place}: no case in {part} has a label map, expected at least one; add a labelled case"
            )
