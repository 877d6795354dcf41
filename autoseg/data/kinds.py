"""Kinds of cases: labelled, tagged or unlabelled; selection of cases by kind."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Literal, get_args

from autoseg.data.dataset import Case, Dataset
from autoseg.data.splits import Fold
from autoseg.errors import DatasetError

Kind = Literal["labelled", "tagged", "unlabelled"]
"""``labelled``: the case has a label map, with or without ignored voxels. ``tagged``: it has tags, but no label map.
``unlabelled``: it has neither."""

KINDS: tuple[Kind, ...] = get_args(Kind)


def kind_of(dataset: Dataset, case_name: str) -> Kind:
    """Return the kind of the case called ``case_name``; raise :class:`DatasetError` if it is not in the dataset."""
    return kind_of_case(dataset, dataset.case(case_name))


def kind_of_case(dataset: Dataset, case: Case) -> Kind:
    """Return the kind of a case."""
    if case.label is not None:
        return "labelled"
    return "tagged" if case.name in dataset.tags else "unlabelled"


def cases_of(dataset: Dataset, names: Iterable[str], kind: Kind) -> tuple[str, ...]:
    """Return those of ``names`` whose cases are of one kind, in the same order.

    Raises :class:`DatasetError` for a name that is not in the dataset.
    """
    kinds = {case.name: kind_of_case(dataset, case) for case in dataset.cases}
    return tuple(name for name in names if (kinds.get(name) or kind_of(dataset, name)) == kind)


def labelled(dataset: Dataset, names: Iterable[str] | None = None) -> tuple[str, ...]:
    """Return those of ``names`` whose cases have a label map, in the same order; by default, of all cases."""
    return cases_of(dataset, [case.name for case in dataset.cases] if names is None else names, "labelled")


def labelled_part(dataset: Dataset, fold: Fold) -> Fold:
    """Return a fold with its labelled cases only."""
    return Fold(train=labelled(dataset, fold.train), val=labelled(dataset, fold.val))


def kind_counts(dataset: Dataset) -> dict[Kind, int]:
    """Count the cases of each kind; kinds without cases are left out."""
    kinds = [kind_of_case(dataset, case) for case in dataset.cases]
    return {kind: kinds.count(kind) for kind in KINDS if kind in kinds}


def check_labelled(dataset: Dataset, place: object) -> Dataset:
    """Return ``dataset`` if a case has a label map; else raise :class:`DatasetError`, which begins with ``place``."""
    if any(case.label is not None for case in dataset.cases):
        return dataset
    raise DatasetError(
        f"{place}: found {len(dataset.cases)} cases, none with a label map, expected at least one: planning measures "
        "the classes in label maps, and tags do not replace them; add a label map"
    )


def numbered(cases: Iterable[Case]) -> list[tuple[int, Case]]:
    """Return each case with its number for random draws: labelled cases from 0, the others from 0 as well.

    So the numbers of labelled cases do not change if unlabelled cases are added.
    """
    counts = {True: itertools.count(), False: itertools.count()}
    return [(next(counts[case.label is not None]), case) for case in cases]
