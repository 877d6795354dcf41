"""Paths of all files of a workspace."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoseg.data.dataset import Dataset, read_dataset
from autoseg.data.kinds import labelled
from autoseg.data.splits import Fold, read_splits
from autoseg.errors import WorkspaceError
from autoseg.files.storage import read_json
from autoseg.fingerprint.record import Fingerprint, read_fingerprint
from autoseg.plan.files import check_version, read_plan
from autoseg.plan.schema import Configuration, Plan, data_id


@dataclass(frozen=True)
class FoldFolder:
    """The files of one completely or partly trained fold."""

    root: Path

    @property
    def model(self) -> Path:
        """Weights at the end of training; the file exists only after training is complete."""
        return self.root / "model.safetensors"

    @property
    def best(self) -> Path:
        """Weights with the best validation Dice on patches."""
        return self.root / "best.safetensors"

    @property
    def resume_state(self) -> Path:
        """Numbers and settings to resume training; it names the file with the tensors."""
        return self.root / "resume.json"

    @property
    def metrics(self) -> Path:
        """Training metrics, one JSON object per line: losses, validation Dice, learning rate, seconds."""
        return self.root / "metrics.jsonl"

    @property
    def progress(self) -> Path:
        """Learning curves."""
        return self.root / "progress.png"

    @property
    def log(self) -> Path:
        """Log messages of the command, with times."""
        return self.root / "log.txt"

    @property
    def validation(self) -> Path:
        """Label maps of the fold's validation cases and their metrics."""
        return self.root / "validation"

    @property
    def previews(self) -> Path:
        """Pictures of the worst and best validation cases."""
        return self.validation / "previews"

    @property
    def summary(self) -> Path:
        """Metrics of the validation cases."""
        return self.validation / "summary.json"


@dataclass(frozen=True)
class Workspace:
    """The folder with all files made for a dataset."""

    root: Path

    @property
    def dataset_file(self) -> Path:
        """Cases, channels and labels."""
        return self.root / "dataset.json"

    @property
    def fingerprint_file(self) -> Path:
        """Fingerprint of the dataset."""
        return self.root / "fingerprint.json"

    @property
    def plan_file(self) -> Path:
        """Plan; users may edit it."""
        return self.root / "plan.json"

    @property
    def splits_file(self) -> Path:
        """Cross-validation folds; users may edit them."""
        return self.root / "splits.json"

    @property
    def ensemble_file(self) -> Path:
        """Choice for prediction: configurations, mirroring, decoder, post-processing."""
        return self.root / "ensemble.json"

    @property
    def cross_validation_file(self) -> Path:
        """Cross-validation results of configurations and ensembles, and the reason for the choice."""
        return self.root / "cross_validation.json"

    @property
    def report_file(self) -> Path:
        """Report for users, as an HTML page."""
        return self.root / "report.html"

    def data(self, plan: Plan, configuration: Configuration) -> Path:
        """Folder of the preprocessed cases of a configuration; configurations with equal data share it."""
        return self.root / "preprocessed" / data_id(plan, configuration)

    def previous_labels(self, plan: Plan, configuration: Configuration, stage: str) -> Path:
        """Folder of the label maps of a previous ``stage`` on the configuration's grid, inside its data folder."""
        return self.data(plan, configuration) / f"previous-{stage}-{plan.configuration(stage).trainer_name}"

    def models(self, configuration: str, plan: Plan | None = None) -> Path:
        """Folder of the trained folds of a configuration; ``plan`` saves reading the plan, which names the trainer."""
        trainer = (plan or self.plan()).configuration(configuration).trainer_name
        return self.root / "models" / configuration / trainer

    def fold(self, configuration: str, fold: int | str, plan: Plan | None = None) -> FoldFolder:
        """Files of one fold of a configuration; see :meth:`models`."""
        return FoldFolder(self.models(configuration, plan) / f"fold_{fold}")

    def dataset(self) -> Dataset:
        """Read the dataset."""
        return read_dataset(self._needed(self.dataset_file))

    def fingerprint(self) -> Fingerprint:
        """Read the fingerprint."""
        return read_fingerprint(self._needed(self.fingerprint_file))

    def plan(self) -> Plan:
        """Read the plan."""
        return read_plan(self._needed(self.plan_file))

    def splits(self) -> list[Fold]:
        """Read the folds."""
        dataset = self.dataset()
        names = [case.name for case in dataset.cases]
        return read_splits(self._needed(self.splits_file), names, labelled=labelled(dataset))

    def _needed(self, path: Path) -> Path:
        if not self.root.is_dir():
            raise WorkspaceError(
                f"{self.root}: no such workspace; create one with 'autoseg plan-and-preprocess DATASET'"
            )
        if not path.exists():
            raise WorkspaceError(f"{path}: not found; run 'autoseg plan-and-preprocess' again")
        if path != self.plan_file and self.plan_file.exists():
            # Files of an earlier autoseg have other fields. Only the plan contains a version, so check it first.
            check_version(read_json(self.plan_file), str(self.plan_file))
        return path


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read every complete line of a metrics file; a line truncated by a crash is skipped."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(record, dict) and isinstance(record.get("step"), int):
            records.append(record)
    return records
