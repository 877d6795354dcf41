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
        members.setdefault(groups.get(name, f"case {name}"), []).append(index)
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


def read_splits(path: Path, known: Sequence[str]) -> list[Fold]:
    """Read the folds from splits.json; check that all cases are known and that none is in both train and val."""
    plain = read_json(path)
    if not isinstance(plain, list) or not plain:
        raise DatasetError(f"{path}: found {type(plain).__name__}, expected a list of folds with 'train' and 'val'")
    splits = [from_plain(Fold, fold, source=f"{path}, fold {i}", error=DatasetError) for i, fold in enumerate(plain)]
    for index, split in enumerate(splits):
        unknown = sorted({*split.train, *split.val} - set(known))
        if unknown:
            raise DatasetError(f"{path}, fold {index}: case '{unknown[0]}' is not in the dataset; correct its name")
        both = sorted(set(split.train) & set(split.val))
        if both and len(known) > 1:
            raise DatasetError(f"{path}, fold {index}: case '{both[0]}' is in train and val; keep it in one of them")
        for part, names in (("train", split.train), ("val", split.val)):
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise DatasetError(
                    f"{path}, fold {index}: case '{twice}' is listed twice in {part}; remove one of the two"
                )
        if not split.train or not split.val:
            raise DatasetError(f"{path}, fold {index}: train or val is empty, expected at least one case in each")
    return splits
