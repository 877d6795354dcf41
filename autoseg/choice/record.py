"""cross_validation.json: what was tried on the held-out cases, what it reached, and what was chosen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from autoseg.choice.admission import Admission, Names
from autoseg.choice.calibration import Calibration
from autoseg.choice.dice import Difference, Table, difference, mean_dice
from autoseg.choice.quality import Quality
from autoseg.dataset import Dataset
from autoseg.evaluation.summary import statistics_of
from autoseg.plan import Component
from autoseg.postprocessing.record import PostProcessing
from autoseg.records import to_plain
from autoseg.storage import write_json


@dataclass(frozen=True)
class ClassDice:
    """Dice of a class over the ``count`` cases where it is defined; the SD is that of a sample."""

    mean: float | None
    sd: float | None
    count: int


@dataclass(frozen=True)
class Result:
    """What one or more configurations together reach."""

    configurations: tuple[str, ...]
    dice: float | None
    """Mean over the classes of their mean over the cases."""
    classes: dict[str, ClassDice]
    difference: Difference
    """From the best single configuration."""
    what: str | None = None
    """What an ensemble is, where that says more than who it is made of."""

    @property
    def name(self) -> str:
        """Who it is, or of many, what."""
        members = self.configurations
        return " + ".join(members) if self.what is None else f"{self.what}: {len(members)} configurations"


@dataclass(frozen=True)
class MirroringResult:
    """What averaging over mirrored copies gains and costs."""

    gain: Difference
    seconds: float
    """For one case with it, all configurations chosen together, one fold of each."""
    seconds_without: float
    kept: bool


@dataclass(frozen=True)
class DecoderResult:
    """What a decoder gains over taking the largest probability."""

    decoder: Component
    gain: Difference
    kept: bool


@dataclass(frozen=True)
class CrossValidation:
    """All that was found on the held-out cases."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    trainer: str
    folds: tuple[int, ...]
    cases: int
    results: tuple[Result, ...]
    chosen: tuple[str, ...]
    mirroring: MirroringResult | None
    """None where it was not measured."""
    decoder: DecoderResult
    postprocessing: PostProcessing
    dice: float | None
    """Of what was chosen, after its decoder and the post-processing."""
    calibration: Calibration
    quality: Quality | None = None
    """None in files of before it was measured."""
    admission: Admission | None = None
    """Who had a say, where all who were good enough did."""

    @property
    def best_single(self) -> Result:
        """The best of the configurations alone."""
        return best([result for result in self.results if len(result.configurations) == 1])

    @property
    def best(self) -> Result:
        """What was chosen."""
        return next(result for result in self.results if result.configurations == self.chosen)


def compare_results(ensembles: Sequence[Names], tables: Sequence[Table], dataset: Dataset) -> tuple[Result, ...]:
    """Describe the Dice of single configurations and ensembles, each beside the best single one."""
    tried = dict(zip(ensembles, tables, strict=True))
    means = {names: defined(mean_dice(table)) for names, table in tried.items()}
    single = max((names for names in tried if len(names) == 1), key=lambda names: _or_lowest(means[names]))
    return tuple(
        Result(names, means[names], describe_classes(table, dataset), difference(table, tried[single]))
        for names, table in tried.items()
    )


def describe_classes(table: Table, dataset: Dataset) -> dict[str, ClassDice]:
    """Describe the Dice [cases,classes] of each class."""
    found = {name: statistics_of(column.tolist()) for name, column in zip(dataset.classes, table.T, strict=True)}
    return {name: ClassDice(defined(s.mean), defined(s.sd), s.count) for name, s in found.items()}


def best(results: Sequence[Result]) -> Result:
    """Return the result with the largest mean Dice; of equal ones the first, which has the fewest configurations."""
    return max(results, key=lambda result: _or_lowest(result.dice))


def write_cross_validation(path: Path, found: CrossValidation) -> None:
    """Write cross_validation.json."""
    write_json(path, to_plain(found))


def defined(value: float) -> float | None:
    """Return None for NaN, which JSON does not have."""
    return None if math.isnan(value) else value


def _or_lowest(dice: float | None) -> float:
    return -1.0 if dice is None else dice
