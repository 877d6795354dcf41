"""Probabilities of held-out cases: use those that training stored, and predict the missing ones."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from autoseg.data.dataset import Dataset
from autoseg.data.kinds import labelled
from autoseg.data.optional_channels import read_case
from autoseg.errors import WeightsError
from autoseg.images.geometry import Volume
from autoseg.images.volumes import read_labels
from autoseg.inference.ensemble import segments, trained_folds
from autoseg.inference.members import load_network, tiling_settings
from autoseg.inference.sliding_window import TilingSettings
from autoseg.inference.stored_scores import (
    has_scores,
    read_scores,
    score_stored_case,
    scores_source,
    write_scores,
)
from autoseg.plan.schema import Plan
from autoseg.postprocessing.scores import Scores
from autoseg.preprocessing.previous_stage import find_previous_stage, prepare_previous_stage
from autoseg.preprocessing.record import PreprocessingRecord
from autoseg.preprocessing.store import open_case, read_case_record
from autoseg.workspace.paths import FoldFolder, Workspace

logger = logging.getLogger("autoseg")

Progress = Callable[[str, int], Callable[[str], None]]
"""Starts a progress display (activity, number of cases) and returns a function to call with each finished case."""


@dataclass(frozen=True)
class HeldOut:
    """Configurations with the same trained folds, and the held-out cases of these folds."""

    workspace: Workspace
    plan: Plan
    dataset: Dataset
    configurations: tuple[str, ...]
    cases: dict[str, int]
    """Fold that held out each case; the first one if there are several."""
    not_compared: tuple[str, ...] = ()
    """Configurations that are left out, because they have other, fewer or no trained folds."""

    @property
    def folds(self) -> tuple[int, ...]:
        """Numbers of the compared folds."""
        return tuple(sorted(set(self.cases.values())))

    def scores(self, configuration: str, case: str, *, mirror: bool = True) -> Scores:
        """Read the probabilities of a case; call :func:`complete_scores` first, so that they exist."""
        folder = self.workspace.fold(configuration, self.cases[case], self.plan)
        return read_scores(folder, case, mirror=mirror)

    def reference(self, case: str) -> np.ndarray:
        """Read the reference label map [Z,Y,X] of a case."""
        label = self.dataset.case(case).label
        if label is None:
            raise WeightsError(f"case '{case}': found no label map, expected one; add it and plan again")
        return read_labels(label)[0]

    def read_image(self, case: str) -> Volume:
        """Read the image of a case."""
        return read_case(self.dataset.case(case), len(self.dataset.channels))

    def preprocessing(self, case: str, configuration: str) -> PreprocessingRecord:
        """Return the preprocessing record of a case, from its files to a configuration's grid."""
        data = self.workspace.data(self.plan, self.plan.configuration(configuration))
        return read_case_record(data, case).preprocessing


def find_held_out(workspace: Workspace) -> HeldOut:
    """Find the configurations to compare: those that share the largest set of trained folds.

    Fold ``all`` is excluded, because it has no held-out cases. Raises :class:`WeightsError` if no numbered fold is
    trained, or if the trained folds held out no case with a label map.
    """
    plan, dataset = workspace.plan(), workspace.dataset()
    splits = workspace.splits()
    alike = [name for name in plan.configurations if segments(workspace, plan, name)]
    for name in plan.configurations:
        if name not in alike:
            logger.warning("%s: not compared, because its networks do not segment", name)
    folds = {name: _folds(workspace, plan, name, len(splits)) if name in alike else () for name in plan.configurations}
    most = max(folds.values(), key=len)
    if not most:
        raise WeightsError(
            f"{workspace.root / 'models'}: no fold with a number is trained completely, expected at least one; run "
            "'autoseg train-fold' first"
        )
    names = tuple(name for name, found in folds.items() if found == most)
    left = [name for name, found in folds.items() if found and name not in names]
    if left:
        logger.warning("%s: not compared, because the trained folds differ from those of %s", ", ".join(left), names[0])
    with_label = set(labelled(dataset))
    cases = {case: fold for fold in reversed(most) for case in splits[fold].val if case in with_label}
    if not cases:
        raise WeightsError(
            f"{workspace.splits_file}: found no case with a label map in 'val' of the trained folds, expected at least "
            "one; add label maps or train other folds"
        )
    others = tuple(name for name in folds if name not in names)
    return HeldOut(workspace, plan, dataset, names, dict(sorted(cases.items())), others)


def complete_scores(
    held_out: HeldOut,
    *,
    device: torch.device | None,
    configurations: Sequence[str] | None = None,
    mirror: bool = True,
    progress: Progress | None = None,
) -> int:
    """Predict the held-out cases whose probabilities are missing or outdated; return their number.

    Each case is written when it is finished, so that an interrupted run continues. Without a ``device`` nothing is
    predicted; :class:`WeightsError` then lists the folds with missing probabilities.
    """
    missing = missing_scores(held_out, configurations or held_out.configurations, mirror=mirror)
    if device is None and missing:
        raise WeightsError(_say_missing(held_out, missing))
    count = sum(len(cases) for cases in missing.values())
    what = f"predicting held-out cases{'' if mirror else ' without mirroring'}"
    finished = progress(what, count) if progress and count else None
    for (name, fold), cases in missing.items():
        network = open_network(held_out, name, fold, device or torch.device("cpu"))
        for case in cases:
            scores, source = network.predict(case, mirror=mirror)
            write_scores(network.folder, case, scores, source=source, mirror=mirror)
            if finished:
                finished(case)
    return count


def missing_scores(
    held_out: HeldOut, configurations: Sequence[str], *, mirror: bool = True
) -> dict[tuple[str, int], list[str]]:
    """Return the cases with missing or outdated probabilities, for each configuration and fold."""
    found = {
        (name, fold): _missing(held_out, name, fold, mirror=mirror)
        for name in configurations
        for fold in held_out.folds
    }
    return {place: cases for place, cases in found.items() if cases}


def _missing(held_out: HeldOut, name: str, fold: int, *, mirror: bool) -> list[str]:
    folder = held_out.workspace.fold(name, fold, held_out.plan)
    data = held_out.workspace.data(held_out.plan, held_out.plan.configuration(name))
    cases = [case for case, holder in held_out.cases.items() if holder == fold]
    sources = {case: scores_source(folder, read_case_record(data, case)) for case in cases}
    return [case for case, source in sources.items() if not has_scores(folder, case, source=source, mirror=mirror)]


def _say_missing(held_out: HeldOut, missing: Iterable[tuple[str, int]]) -> str:
    folds: dict[str, list[str]] = {}
    for name, fold in missing:
        folds.setdefault(name, []).append(str(fold))
    listed = "; ".join(
        f"{name} {'fold' if len(numbers) == 1 else 'folds'} {', '.join(numbers)}" for name, numbers in folds.items()
    )
    root = held_out.workspace.root
    return (
        f"{root / 'models'}: found no probabilities, or outdated ones, of the cases held out by {listed}; "
        f"make them with 'autoseg choose {root}' without --no-predict"
    )


def _folds(workspace: Workspace, plan: Plan, configuration: str, count: int) -> tuple[int, ...]:
    numbers = (int(fold) for fold in trained_folds(workspace, plan, configuration) if fold != "all")
    return tuple(sorted(fold for fold in numbers if fold < count))


@dataclass(frozen=True)
class FoldNetwork:
    """A trained fold, loaded to predict its held-out cases."""

    network: nn.Module
    folder: FoldFolder
    data: Path
    previous: Path | None
    windows: Mapping[bool, TilingSettings]
    """Tiling settings with mirroring (True) and without (False)."""
    device: torch.device

    def predict(self, case: str, *, mirror: bool) -> tuple[Scores, str]:
        """Return the probabilities of a case, and the version of its data and weights (:func:`scores_source`)."""
        stored = open_case(self.data, case, previous=self.previous)
        scores = score_stored_case(self.network, stored, self.windows[mirror], self.device)
        return scores, scores_source(self.folder, stored.record)


def open_network(held_out: HeldOut, name: str, fold: int, device: torch.device) -> FoldNetwork:
    """Load the network of a fold; for a cascade, prepare the label maps of the previous stage first."""
    workspace, plan, dataset = held_out.workspace, held_out.plan, held_out.dataset
    configuration = plan.configuration(name)
    folder = workspace.fold(name, fold, plan)
    previous = find_previous_stage(workspace, plan, name, fold=fold)
    if previous:
        prepare_previous_stage(previous, dataset)
    return FoldNetwork(
        load_network(configuration, dataset, folder.model, device),
        folder,
        workspace.data(plan, configuration),
        previous.folder if previous else None,
        {
            mirror: tiling_settings(plan, dataset, configuration, mirror=mirror, source=workspace.plan_file)
            for mirror in (True, False)
        },
        device,
    )
