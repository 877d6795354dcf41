"""cross_validation.json: the alternatives evaluated on the held-out cases, their Dice, and the selection."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from autoseg.choice.calibration import Calibration
from autoseg.choice.dice import Difference, Table, difference, mean_dice
from autoseg.choice.dice_margin import Admission, Names
from autoseg.choice.quality import Quality
from autoseg.data.dataset import Dataset
from autoseg.evaluation.summary import statistics_of
from autoseg.files.records import to_plain
from autoseg.files.storage import write_json
from autoseg.inference.ensemble import PostProcessing
from autoseg.registry import Component


@dataclass(frozen=True)
class ClassDice:
    """Dice of a class over the ``count`` cases where it is defined; ``sd`` is the sample standard deviation."""

    mean: float | None
    sd: float | None
    count: int


@dataclass(frozen=True)
class Result:
    """Dice of one configuration, or of an ensemble of several."""

    configurations: tuple[str, ...]
    dice: float | None
    """Mean over the classes of the mean over the cases."""
    classes: dict[str, ClassDice]
    difference: Difference
    """Difference to the best single configuration."""
    what: str | None = None
    """Short description of a large ensemble, used instead of the names of its members."""

    @property
    def name(self) -> str:
        """Configuration names, or a summary of many."""
        members = self.configurations
        return " + ".join(members) if self.what is None else f"{self.what}: {len(members)} configurations"


@dataclass(frozen=True)
class MirroringResult:
    """Gain and time of averaging over mirrored copies."""

    gain: Difference
    seconds: float
    """Seconds for one case with mirroring: sum over all selected configurations, with one fold of each."""
    seconds_without: float
    kept: bool


@dataclass(frozen=True)
class DecoderResult:
    """Gain of a decoder over ``argmax``."""

    decoder: Component
    gain: Difference
    kept: bool


@dataclass(frozen=True)
class CrossValidation:
    """All results on the held-out cases."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    folds: tuple[int, ...]
    cases: int
    results: tuple[Result, ...]
    chosen: tuple[str, ...]
    mirroring: MirroringResult | None
    """None if mirroring was not measured."""
    decoder: DecoderResult | None
    """The best decoder candidate; None if there was no candidate."""
    postprocessing: PostProcessing
    dice: float | None
    """Mean Dice of the selected ensemble with its decoder and post-processing."""
    calibration: Calibration
    quality: Quality | None = None
    """None in files of older versions."""
    dice_margin: Admission | None = None
    """The admitted ensemble members; None if they were not selected by a Dice margin."""

    @property
    def best_single(self) -> Result:
        """Result of the best single configuration."""
        return best([result for result in self.results if len(result.configurations) == 1])

    @property
    def best(self) -> Result:
        """Result of the selected configurations."""
        return next(result for result in self.results if result.configurations == self.chosen)


def compare_results(ensembles: Sequence[Names], tables: Sequence[Table], dataset: Dataset) -> tuple[Result, ...]:
    """Return the Dice of single configurations and ensembles, with the difference to the best single one."""
    tried = dict(zip(ensembles, tables, strict=True))
    means = {names: defined(mean_dice(table)) for names, table in tried.items()}
    single = max((names for names in tried if len(names) == 1), key=lambda names: _or_lowest(means[names]))
    return tuple(
        Result(names, means[names], describe_classes(table, dataset), difference(table, tried[single]))
        for names, table in tried.items()
    )


def describe_classes(table: Table, dataset: Dataset) -> dict[str, ClassDice]:
    """Return the statistics of each class from the Dice [cases,classes]."""
    found = {name: statistics_of(column.tolist()) for name, column in zip(dataset.classes, table.T, strict=True)}
    return {name: ClassDice(defined(s.mean), defined(s.sd), s.count) for name, s in found.items()}


def best(results: Sequence[Result]) -> Result:
    """Return the result with the largest mean Dice; if equal, the first, which has the fewest configurations."""
    return max(results, key=lambda result: _or_lowest(result.dice))


def write_cross_validation(path: Path, found: CrossValidation) -> None:
    """Write cross_validation.json."""
    write_json(path, to_plain(found))


def defined(value: float) -> float | None:
    """Return None instead of NaN, because JSON has no NaN."""
    return None if math.isnan(value) else value


def _or_lowest(dice: float | None) -> float:
    return -1.0 if dice is None else dice
