"""Files about the uncertainty of predictions: maps and figures for each case, and one table of all cases."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from autoseg.errors import WorkspaceError
from autoseg.evaluation.overlap import mean_defined
from autoseg.files.records import read_record, to_plain
from autoseg.files.storage import write_json, write_text
from autoseg.images.geometry import Geometry
from autoseg.images.volumes import write_volume
from autoseg.inference.uncertainty import Uncertainty

FOLDER = "uncertainty"
"""Sub-folder for the maps. In the folder of the label maps, ``autoseg evaluate`` would read them as label maps."""
TABLE = "uncertainty.csv"


@dataclass(frozen=True)
class CaseUncertainty:
    """Uncertainty figures of a whole case."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    networks: int
    expected_dice: float | None
    """Mean of ``expected`` over the classes."""
    entropy: float | None
    """Mean entropy over the predicted foreground, in nats; None without foreground."""
    expected: dict[str, float | None]
    """Expected Dice of the label map for each class, minus ``overconfidence``; None for a class that the label map does
    not contain."""
    overconfidence: float
    """Correction from cross-validation that is subtracted from the expected Dice."""
    agreement: dict[str, float | None]
    """Mean Dice between the networks' label maps; None for a class that no network predicts; empty for one network."""


@dataclass(frozen=True)
class UncertaintyFiles:
    """The uncertainty files of a folder of predictions."""

    output: Path
    overconfidence: float = 0.0
    """Correction from cross-validation that is subtracted from the expected Dice."""

    def record(self, case: str) -> Path:
        """Return the path of a case's figures. They are written last, so that a case with figures is complete."""
        return self.output / FOLDER / f"{case}.json"

    def has(self, case: str) -> bool:
        """Return whether a case has valid figures with the same ``overconfidence``."""
        return self._found(case) is not None

    def _found(self, case: str) -> CaseUncertainty | None:
        try:
            found = read_record(CaseUncertainty, self.record(case), error=WorkspaceError)
        except WorkspaceError:
            return None
        return found if found.overconfidence == self.overconfidence else None

    def write(
        self, case: str, found: Uncertainty, labels: np.ndarray, geometry: Geometry, *, networks: int, like: Path
    ) -> None:
        """Write the maps and figures of a case; ``labels`` [Z,Y,X] is its label map, ``like`` its image."""
        self.record(case).unlink(missing_ok=True)
        write_volume(self.output / FOLDER / f"{case}_entropy.nii.gz", found.entropy, geometry, like=like)
        if found.disagreement is not None:
            path = self.output / FOLDER / f"{case}_disagreement.nii.gz"
            write_volume(path, found.disagreement, geometry, like=like)
        foreground = labels > 0
        entropy = float(found.entropy.mean(where=foreground, dtype=np.float64)) if foreground.any() else None
        expected = {name: min(max(dice - self.overconfidence, 0.0), 1.0) for name, dice in found.expected.items()}
        figures = CaseUncertainty(
            networks,
            _known(mean_defined(expected.values())),
            entropy,
            {name: _known(value) for name, value in expected.items()},
            self.overconfidence,
            {name: _known(value) for name, value in (found.agreement or {}).items()},
        )
        write_json(self.record(case), to_plain(figures))

    def write_table(self, cases: Sequence[str], classes: Sequence[str]) -> Path:
        """Write a CSV table with one row for each case that has figures; return its path."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        each = (f"{what} {name}" for what in ("expected_dice", "agreement") for name in classes)
        table.writerow(("case", "networks", "expected_dice", "entropy", *each))
        for case in cases:
            found = self._found(case)
            if found is not None:
                by_class = (column.get(name) for column in (found.expected, found.agreement) for name in classes)
                figures = (found.expected_dice, found.entropy, *by_class)
                table.writerow((case, found.networks, *(_text(figure) for figure in figures)))
        path = self.output / TABLE
        write_text(path, text.getvalue())
        return path


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
