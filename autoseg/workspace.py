"""Where every file of a workspace is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from autoseg.dataset import Dataset, read_dataset
from autoseg.errors import WorkspaceError
from autoseg.fingerprint import Fingerprint, read_fingerprint
from autoseg.plan import Configuration, Plan, data_id, read_plan
from autoseg.splits import Fold, read_splits


@dataclass(frozen=True)
class FoldFolder:
    """The files of one trained, or half-trained, fold."""

    root: Path

    @property
    def model(self) -> Path:
        """Weights at the end of training; there only when training is done."""
        return self.root / "model.safetensors"

    @property
    def best(self) -> Path:
        """Weights with the best validation Dice on patches."""
        return self.root / "best.safetensors"

    @property
    def resume_state(self) -> Path:
        """Numbers and settings to go on from; it names the tensors that belong to it."""
        return self.root / "resume.json"

    @property
    def metrics(self) -> Path:
        """One JSON object a line: losses, validation Dice, learning rate, seconds."""
        return self.root / "metrics.jsonl"

    @property
    def progress(self) -> Path:
        """Learning curves."""
        return self.root / "progress.png"

    @property
    def log(self) -> Path:
        """What the command said, with times."""
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
    """The one folder that holds all that is made for a dataset."""

    root: Path

    @property
    def dataset_file(self) -> Path:
        """Cases, channels and labels."""
        return self.root / "dataset.json"

    @property
    def fingerprint_file(self) -> Path:
        """What the dataset looks like."""
        return self.root / "fingerprint.json"

    @property
    def plan_file(self) -> Path:
        """What to do; may be edited."""
        return self.root / "plan.json"

    @property
    def splits_file(self) -> Path:
        """Cross-validation folds; may be edited."""
        return self.root / "splits.json"

    @property
    def ensemble_file(self) -> Path:
        """Which configurations predict."""
        return self.root / "ensemble.json"

    @property
    def postprocessing_file(self) -> Path:
        """What is done to finished label maps."""
        return self.root / "postprocessing.json"

    @property
    def cross_validation_file(self) -> Path:
        """What configurations and ensembles of them reached, and why one of them was chosen."""
        return self.root / "cross_validation.json"

    @property
    def report_file(self) -> Path:
        """All of it for people, as a page."""
        return self.root / "report.html"

    def data(self, plan: Plan, configuration: Configuration) -> Path:
        """Preprocessed cases of a configuration; configurations that need the same data share them."""
        return self.root / "preprocessed" / data_id(plan, configuration)

    def previous_labels(self, plan: Plan, configuration: Configuration, trainer: str) -> Path:
        """Label maps of a configuration's previous stage on its own grid; data of another plan take them along."""
        return self.data(plan, configuration) / f"previous-{configuration.previous_stage}-{trainer}"

    def fold(self, configuration: str, fold: int | str, trainer: str = "supervised") -> FoldFolder:
        """Files of one fold of a configuration."""
        return FoldFolder(self.root / "models" / configuration / trainer / f"fold_{fold}")

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
        return read_splits(self._needed(self.splits_file), [case.name for case in self.dataset().cases])

    def _needed(self, path: Path) -> Path:
        if not self.root.is_dir():
            raise WorkspaceError(f"{self.root}: no such workspace; make one with 'autoseg plan-and-preprocess DATASET'")
        if not path.exists():
            raise WorkspaceError(f"{path}: not found; run 'autoseg plan-and-preprocess' again")
        return path
