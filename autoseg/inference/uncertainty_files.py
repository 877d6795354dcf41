"""What is written of the uncertainty of cases: maps and figures for each, and one table of all."""

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
from autoseg.geometry import Geometry
from autoseg.images import write_volume
from autoseg.inference.uncertainty import Uncertainty
from autoseg.records import read_record, to_plain
from autoseg.storage import write_json, write_text

FOLDER = "uncertainty"
"""Beside the label maps: among them the maps would be taken for label maps, as by ``autoseg evaluate``."""
TABLE = "uncertainty.csv"


@dataclass(frozen=True)
class CaseUncertainty:
    """How sure an ensemble is of a case as a whole."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    networks: int
    expected_dice: float | None
    """Mean of ``expected`` over its classes."""
    entropy: float | None
    """Mean over the predicted foreground, in nats; None where there is none."""
    expected: dict[str, float | None]
    """Dice of the label map with an unknown reference, less what cross-validation found to be expected too much; None
    for a class that it does not hold."""
    overconfidence: float
    """What was taken off."""
    agreement: dict[str, float | None]
    """Mean Dice between the networks' label maps; None for a class that none of them sees; empty for one network."""


@dataclass(frozen=True)
class UncertaintyFiles:
    """Where they are, for the label maps of a folder."""

    output: Path
    overconfidence: float = 0.0
    """What is taken off the Dice that probabilities let expect."""

    def record(self, case: str) -> Path:
        """Return where the figures of a case are, written last: a case that has them is whole."""
        return self.output / FOLDER / f"{case}.json"

    def has(self, case: str) -> bool:
        """Tell whether the figures of a case are there, as this version has them and corrected by as much."""
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
        """Write the figures of those of the cases that have some, a row each."""
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
