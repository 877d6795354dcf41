"""The metrics of many cases in one table, with the statistics of each class."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from autoseg.errors import WorkspaceError
from autoseg.evaluation.metrics import ClassMetrics
from autoseg.evaluation.overlap import NAN, OverlapScores, overlap_scores
from autoseg.evaluation.settings import MetricSettings
from autoseg.records import from_plain
from autoseg.storage import read_json, write_json, write_text

Cases = dict[str, dict[str, ClassMetrics]]

R = TypeVar("R")

_DEFAULT = MetricSettings()

METRICS = tuple(field.name for field in fields(ClassMetrics))


@dataclass(frozen=True)
class Statistics:
    """One metric of one class over the ``count`` cases where it is defined; the SD is that of a sample."""

    mean: float
    sd: float
    lower_quartile: float
    median: float
    upper_quartile: float
    count: int


@dataclass(frozen=True)
class Summary:
    """Metrics by case and class, their statistics by class and metric, and one number for all.

    ``mean_dice`` is the mean over the classes of the mean Dice over the cases, as nnU-Net gives it; cases where a class
    is in neither map, and classes that are in no case, are left out. ``pooled`` scores each class over the voxels of
    all cases together, as if they were one; ``slices`` holds the statistics of Dice over slices, where these were
    asked for. ``not_validated`` are cases that a fold's time was too short to predict, ``not_mirrored`` those that it
    predicted without mirrored copies.
    """

    mean_dice: float
    classes: dict[str, dict[str, Statistics]]
    cases: Cases
    pooled: dict[str, OverlapScores] = field(default_factory=dict)
    slices: dict[str, Statistics] = field(default_factory=dict)
    settings: MetricSettings = field(default_factory=MetricSettings)
    not_validated: tuple[str, ...] = ()
    not_mirrored: tuple[str, ...] = ()

    @property
    def pooled_dice(self) -> float:
        """The mean over the classes of Dice over all voxels."""
        return statistics_of([scores.dice for scores in self.pooled.values()]).mean

    def to_json(self) -> dict[str, Any]:
        """Return plain values that strict JSON can hold: NaN becomes None; empty lists of cases are left out."""
        plain: dict[str, Any] = _without_nan(asdict(self))
        for name in ("not_validated", "not_mirrored"):
            if not plain[name]:
                del plain[name]
        return plain

    @classmethod
    def from_json(cls, plain: Any, *, source: str = "summary") -> Summary:
        """Return the summary of the cases in what :meth:`to_json` gave; statistics over cases are computed afresh.

        Raises :class:`WorkspaceError` that names ``source`` and the first field that does not fit.
        """
        if not isinstance(plain, dict) or not isinstance(plain.get("cases"), dict):
            raise WorkspaceError(
                f"{source}: found no 'cases' with their metrics, expected a summary of metrics; evaluate again"
            )

        def read(kind: type[R], name: str, default: Any) -> R:
            return from_plain(kind, _with_nan(plain.get(name, default)), source=source, error=WorkspaceError)

        summary = summarize(read(Cases, "cases", {}), settings=read(MetricSettings, "settings", {}))
        return replace(
            summary,
            slices=read(dict[str, Statistics], "slices", {}),
            not_validated=read(tuple[str, ...], "not_validated", ()),
            not_mirrored=read(tuple[str, ...], "not_mirrored", ()),
        )

    def write_json(self, path: Path) -> None:
        """Write the summary as strict JSON."""
        write_json(path, self.to_json())

    def write_csv(self, path: Path) -> None:
        """Write one row for each case and class; what is not defined is left empty."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("case", "class", *METRICS))
        for case, classes in self.cases.items():
            for name, metrics in classes.items():
                values = (getattr(metrics, metric) for metric in METRICS)
                writer.writerow((case, name, *("" if math.isnan(value) else value for value in values)))
        write_text(path, text.getvalue())


def read_summary(path: Path) -> Summary:
    """Read a summary that :meth:`Summary.write_json` wrote; raise :class:`WorkspaceError` if it is none."""
    return Summary.from_json(read_json(path), source=str(path))


def summarize(cases: Mapping[str, Mapping[str, ClassMetrics]], *, settings: MetricSettings = _DEFAULT) -> Summary:
    """Summarize the metrics of cases by name, as :func:`autoseg.evaluation.metrics.evaluate_case` gives each.

    ``settings`` are those that they were measured with.
    """
    kept = {case: dict(classes) for case, classes in cases.items()}
    names = dict.fromkeys(name for classes in kept.values() for name in classes)
    found = {name: [classes[name] for classes in kept.values() if name in classes] for name in names}
    classes = {name: _class_statistics(metrics) for name, metrics in found.items()}
    mean_dice = statistics_of([statistics["dice"].mean for statistics in classes.values()]).mean
    pooled = {name: _pooled(metrics) for name, metrics in found.items()}
    return Summary(mean_dice=mean_dice, classes=classes, cases=kept, pooled=pooled, settings=settings)


def case_dice(metrics: Mapping[str, ClassMetrics]) -> float:
    """Return the mean Dice of the classes of a case for which it is defined; NaN where it is for none."""
    found = [of_class.dice for of_class in metrics.values() if not math.isnan(of_class.dice)]
    return float(np.mean(found)) if found else math.nan


def _class_statistics(found: list[ClassMetrics]) -> dict[str, Statistics]:
    return {metric: statistics_of([getattr(metrics, metric) for metrics in found]) for metric in METRICS}


def _pooled(found: list[ClassMetrics]) -> OverlapScores:
    return overlap_scores(
        sum(metrics.true_positives for metrics in found),
        sum(metrics.false_positives for metrics in found),
        sum(metrics.false_negatives for metrics in found),
        sum(metrics.true_negatives for metrics in found),
    )


def statistics_of(values: Sequence[float]) -> Statistics:
    """Describe the values that are defined."""
    defined = np.array([value for value in values if not math.isnan(value)], dtype=np.float64)
    if not len(defined):
        return Statistics(mean=NAN, sd=NAN, lower_quartile=NAN, median=NAN, upper_quartile=NAN, count=0)
    lower, upper = np.percentile(defined, (25, 75))
    return Statistics(
        mean=float(defined.mean()),
        sd=float(defined.std(ddof=1)) if len(defined) > 1 else NAN,
        lower_quartile=float(lower),
        median=float(np.median(defined)),
        upper_quartile=float(upper),
        count=len(defined),
    )


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def _with_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_nan(item) for key, item in value.items()}
    return NAN if value is None else value
