"""The probabilities of held-out cases: those that training left, or else computed once more."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from autoseg.dataset import Dataset
from autoseg.errors import WeightsError
from autoseg.images import read_labels
from autoseg.inference.export import Scores
from autoseg.inference.members import load_network, trained_folds, window_of
from autoseg.inference.stored_scores import (
    has_scores,
    read_scores,
    score_stored_case,
    scores_source,
    write_scores,
)
from autoseg.plan import Plan
from autoseg.preprocessing.previous_stage import find_previous_stage, prepare_previous_stage
from autoseg.preprocessing.store import open_case, read_case_record
from autoseg.workspace import Workspace

logger = logging.getLogger("autoseg")

Progress = Callable[[str, int], Callable[[str], None]]
"""Begins a display (what is done, to how many) and returns what is called with each that is finished."""


@dataclass(frozen=True)
class HeldOut:
    """Configurations of which the same folds are trained, and the cases that these folds held out."""

    workspace: Workspace
    plan: Plan
    dataset: Dataset
    trainer: str
    configurations: tuple[str, ...]
    cases: dict[str, int]
    """Fold that held out each case; the first where several did."""

    @property
    def folds(self) -> tuple[int, ...]:
        """Numbers of the folds."""
        return tuple(sorted(set(self.cases.values())))

    def scores(self, configuration: str, case: str, *, mirror: bool = True) -> Scores:
        """Read the probabilities of a case, which :func:`complete_scores` made sure of."""
        folder = self.workspace.fold(configuration, self.cases[case], self.trainer)
        return read_scores(folder, case, mirror=mirror)

    def reference(self, case: str) -> np.ndarray:
        """Read the reference label map [Z,Y,X] of a case."""
        label = self.dataset.case(case).label
        if label is None:
            raise WeightsError(f"case '{case}': found no label map, expected one; add it and plan again")
        return read_labels(label)[0]


def find_held_out(workspace: Workspace, trainer: str = "supervised") -> HeldOut:
    """Find what can be compared: of the configurations, those with the most folds, and the same ones.

    Fold ``all`` held out nothing and does not count. Raises :class:`WeightsError` where no fold is trained.
    """
    plan, dataset = workspace.plan(), workspace.dataset()
    folds = {name: _folds(workspace, name, trainer) for name in plan.configurations}
    most = max(folds.values(), key=len)
    if not most:
        raise WeightsError(
            f"{workspace.root / 'models'}: no fold is trained and validated; run 'autoseg train-fold' first"
        )
    names = tuple(name for name, found in folds.items() if found == most)
    left = [name for name, found in folds.items() if found and name not in names]
    if left:
        logger.warning(
            "%s: not compared, because other or fewer folds are trained than of %s", ", ".join(left), names[0]
        )
    splits = workspace.splits()
    with_label = {case.name for case in dataset.cases if case.label is not None}
    cases = {case: fold for fold in reversed(most) for case in splits[fold].val if case in with_label}
    if not cases:
        raise WeightsError(f"{workspace.splits_file}: the folds trained held out no case with a label map; add some")
    return HeldOut(workspace, plan, dataset, trainer, names, dict(sorted(cases.items())))


def complete_scores(
    held_out: HeldOut,
    *,
    device: torch.device,
    configurations: Sequence[str] | None = None,
    folds: Sequence[int] | None = None,
    mirror: bool = True,
    progress: Progress | None = None,
) -> int:
    """Predict the held-out cases whose probabilities are not there or outdated; return how many.

    Each case is written as it is done, so that the work goes on where it was stopped.
    """
    missing = {
        (name, fold): cases
        for name in configurations or held_out.configurations
        for fold in folds or held_out.folds
        if (cases := _missing(held_out, name, fold, mirror=mirror))
    }
    count = sum(len(cases) for cases in missing.values())
    finished = progress("predicting held-out cases", count) if progress and count else None
    for (name, fold), cases in missing.items():
        _predict(held_out, name, fold, cases, device=device, mirror=mirror, finished=finished)
    return count


def _folds(workspace: Workspace, configuration: str, trainer: str) -> tuple[int, ...]:
    count = len(workspace.splits())
    numbers = (int(fold) for fold in trained_folds(workspace, configuration, trainer) if fold != "all")
    return tuple(sorted(fold for fold in numbers if fold < count))


def _missing(held_out: HeldOut, name: str, fold: int, *, mirror: bool) -> list[str]:
    folder = held_out.workspace.fold(name, fold, held_out.trainer)
    data = held_out.workspace.data(held_out.plan, held_out.plan.configuration(name))
    return [
        case
        for case, holder in held_out.cases.items()
        if holder == fold
        and not has_scores(folder, case, source=scores_source(folder, read_case_record(data, case)), mirror=mirror)
    ]


def _predict(
    held_out: HeldOut,
    name: str,
    fold: int,
    cases: Sequence[str],
    *,
    device: torch.device,
    mirror: bool,
    finished: Callable[[str], None] | None,
) -> None:
    """Predict cases with the weights of the fold that held them out."""
    workspace, plan, dataset = held_out.workspace, held_out.plan, held_out.dataset
    configuration = plan.configuration(name)
    folder = workspace.fold(name, fold, held_out.trainer)
    previous = find_previous_stage(workspace, plan, name, fold=fold, trainer=held_out.trainer)
    if previous:
        prepare_previous_stage(previous, dataset)
    network = load_network(configuration, dataset, folder.model, device)
    window = window_of(plan, dataset, configuration, mirror=mirror, source=workspace.plan_file)
    for case in cases:
        stored = open_case(workspace.data(plan, configuration), case, previous=previous.folder if previous else None)
        scores = score_stored_case(network, stored, window, device)
        write_scores(folder, case, scores, source=scores_source(folder, stored.record), mirror=mirror)
        if finished:
            finished(case)
