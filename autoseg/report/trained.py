"""What is trained in a workspace, and what its validation found: read for the report, as far as there is any."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoseg.evaluation.metrics import ClassMetrics
from autoseg.evaluation.summary import Summary, case_dice, read_summary, summarize
from autoseg.plan import Plan
from autoseg.training_log import read_metrics
from autoseg.workspace import FoldFolder, Workspace

_FOLD = re.compile(r"fold_(\d{1,4}|all)")


@dataclass(frozen=True)
class TrainedFold:
    """One fold: its learning curves, and its metrics once it is validated."""

    name: str
    folder: FoldFolder
    records: tuple[dict[str, Any], ...]
    """Lines of metrics.jsonl."""
    summary: Summary | None

    @property
    def finished(self) -> bool:
        """Whether it is trained to its end."""
        return self.folder.model.exists()


@dataclass(frozen=True)
class ValidatedCase:
    """A case with its metrics by class, from the fold that held it out."""

    name: str
    fold: TrainedFold
    metrics: dict[str, ClassMetrics]

    @property
    def dice(self) -> float:
        """Mean Dice of the classes for which it is defined; NaN where it is for none."""
        return case_dice(self.metrics)

    @property
    def worst(self) -> tuple[str, float] | None:
        """The class with the lowest Dice."""
        found = [(metrics.dice, name) for name, metrics in self.metrics.items() if not math.isnan(metrics.dice)]
        return (min(found)[1], min(found)[0]) if found else None


@dataclass(frozen=True)
class Run:
    """The folds of one configuration that one trainer made."""

    configuration: str
    trainer: str
    folds: tuple[TrainedFold, ...]
    planned: bool
    """Whether the configuration is still in the plan."""

    @property
    def validated(self) -> tuple[TrainedFold, ...]:
        """The folds that count in cross-validation: not ``all``, which validates on what it was trained on."""
        return tuple(fold for fold in self.folds if fold.summary is not None and fold.name != "all")

    @property
    def summary(self) -> Summary | None:
        """Metrics of the cases that all folds held out; None where no fold is validated."""
        cases = {name: m for fold in self.validated if fold.summary for name, m in fold.summary.cases.items()}
        return summarize(cases) if cases else None

    @property
    def cases(self) -> list[ValidatedCase]:
        """The cases that were held out, lowest Dice first; those without any Dice last."""
        found = [
            ValidatedCase(name, fold, metrics)
            for fold in self.validated
            if fold.summary
            for name, metrics in fold.summary.cases.items()
        ]
        return sorted(found, key=lambda case: (math.isnan(case.dice), case.dice, case.name))


def find_runs(workspace: Workspace, plan: Plan) -> list[Run]:
    """Find every configuration and trainer of which a fold was begun, in the plan's order."""
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
    """Read the folds that have anything to show, in their order, ``all`` last."""
    found = {match[1]: path for path in _folders(folder) if (match := _FOLD.fullmatch(path.name))}
    for name in sorted(found, key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0)):
        files = FoldFolder(found[name])
        records = tuple(read_metrics(files.metrics))
        summary = read_summary(files.summary) if files.summary.exists() else None
        if records or summary or files.model.exists():
            yield TrainedFold(name, files, records, summary)


def _folders(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir()) if path.is_dir() else []
