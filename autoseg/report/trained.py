"""Reads the trained folds of a workspace and their validation results for the report."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoseg.evaluation.metrics import ClassMetrics
from autoseg.evaluation.summary import Summary, case_dice, read_summary, summarize
from autoseg.plan.schema import Plan
from autoseg.workspace.paths import FoldFolder, Workspace, read_metrics

_FOLD = re.compile(r"fold_(\d{1,4}|all)")


@dataclass(frozen=True)
class TrainedFold:
    """One fold: its learning curves, and its metrics if it is validated."""

    name: str
    folder: FoldFolder
    records: tuple[dict[str, Any], ...]
    """The lines of metrics.jsonl."""
    summary: Summary | None

    @property
    def finished(self) -> bool:
        """Whether training is complete."""
        return self.folder.model.exists()


@dataclass(frozen=True)
class ValidatedCase:
    """A held-out case with its fold and its metrics by class."""

    name: str
    fold: TrainedFold
    metrics: dict[str, ClassMetrics]

    @property
    def dice(self) -> float:
        """Mean over the defined Dice values of the classes; NaN if none is defined."""
        return case_dice(self.metrics)

    @property
    def worst(self) -> tuple[str, float] | None:
        """The class with the lowest Dice, and this Dice; None if no Dice is defined."""
        found = [(metrics.dice, name) for name, metrics in self.metrics.items() if not math.isnan(metrics.dice)]
        return (min(found)[1], min(found)[0]) if found else None


@dataclass(frozen=True)
class Run:
    """The folds of one configuration and one trainer."""

    configuration: str
    trainer: str
    folds: tuple[TrainedFold, ...]
    planned: bool
    """Whether the configuration is still in the plan."""

    @property
    def validated(self) -> tuple[TrainedFold, ...]:
        """The folds of cross-validation, without ``all``, which is validated on its training cases."""
        return tuple(fold for fold in self.folds if fold.summary is not None and fold.name != "all")

    @property
    def summary(self) -> Summary | None:
        """Metrics of the held-out cases of all folds; None if no fold is validated."""
        cases = {name: m for fold in self.validated if fold.summary for name, m in fold.summary.cases.items()}
        return summarize(cases) if cases else None

    @property
    def cases(self) -> list[ValidatedCase]:
        """The held-out cases, lowest Dice first, cases without a defined Dice last."""
        found = [
            ValidatedCase(name, fold, metrics)
            for fold in self.validated
            if fold.summary
            for name, metrics in fold.summary.cases.items()
        ]
        return sorted(found, key=lambda case: (math.isnan(case.dice), case.dice, case.name))


def find_runs(workspace: Workspace, plan: Plan) -> list[Run]:
    """Find all configurations and trainers with at least one started fold, in the order of the plan."""
    folder = workspace.root / "models"
    names = [path.name for path in _folders(folder)]
    others = [name for name in names if name not in plan.configurations]
    runs = []
    for name in [*(name for name in plan.configurations if name in names), *others]:
        for trainer in _folders(folder / name):
            folds = tuple(_folds(trainer))
            if folds:
                runs.append(Run(name, trainer.name, folds, name in plan.configurations))
    return runs


def _folds(folder: Path) -> Iterator[TrainedFold]:
    """Read the folds with learning curves, metrics or a model, in numeric order, ``all`` last."""
    found = {match[1]: path for path in _folders(folder) if (match := _FOLD.fullmatch(path.name))}
    for name in sorted(found, key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0)):
        files = FoldFolder(found[name])
        records = tuple(read_metrics(files.metrics))
        summary = read_summary(files.summary) if files.summary.exists() else None
        if records or summary or files.model.exists():
            yield TrainedFold(name, files, records, summary)


def _folders(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir()) if path.is_dir() else []
