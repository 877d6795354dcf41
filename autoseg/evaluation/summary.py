"""Summary of the metrics of many cases, with statistics of each class."""

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
from autoseg.files.records import from_plain
from autoseg.files.storage import read_json, write_json, write_text

Cases = dict[str, dict[str, ClassMetrics]]

R = TypeVar("R")

SEGMENTATION = "segmentation"
"""Usual task of a network."""

_DEFAULT = MetricSettings()

METRICS = tuple(field.name for field in fields(ClassMetrics))


@dataclass(frozen=True)
class Statistics:
    """Statistics of one metric of one class over the ``count`` cases where it is defined; ``sd`` is the sample SD."""

    mean: float
    sd: float
    lower_quartile: float
    median: float
    upper_quartile: float
    count: int


@dataclass(frozen=True)
class Summary:
    """Metrics by case and class, their statistics by class and metric, and the mean Dice.

    ``mean_dice`` is computed as in nnU-Net: the mean over the cases for each class, then the mean over the classes.
    Cases where a class is absent in both maps, and classes that are absent in all cases, are left out. ``pooled``
    contains the scores of each class over the voxels of all cases together. ``slices`` contains the statistics of Dice
    over slices, if these were measured. ``not_validated`` are cases that a fold did not predict because its time budget
    was used up; ``not_mirrored`` are cases that it predicted without mirroring for the same reason.
    """

    mean_dice: float
    classes: dict[str, dict[str, Statistics]]
    cases: Cases
    pooled: dict[str, OverlapScores] = field(default_factory=dict)
    slices: dict[str, Statistics] = field(default_factory=dict)
    settings: MetricSettings = field(default_factory=MetricSettings)
    not_validated: tuple[str, ...] = ()
    not_mirrored: tuple[str, ...] = ()
    task: str = SEGMENTATION
    """What the network does. Networks with another task are measured only by ``metrics``."""
    metrics: dict[str, float | None] = field(default_factory=dict)
    """Metrics of the trainer after the last step, by name; None where a metric is not defined."""

    @property
    def segments(self) -> bool:
        """Whether the network segments, so that its Dice can be compared."""
        return self.task == SEGMENTATION

    @property
    def pooled_dice(self) -> float:
        """The mean over the classes of the Dice over the voxels of all cases."""
        return statistics_of([scores.dice for scores in self.pooled.values()]).mean

    def to_json(self) -> dict[str, Any]:
        """Return plain values for strict JSON: NaN becomes None, and empty fields are left out."""
        plain: dict[str, Any] = _without_nan(asdict(self))
        for name in ("not_validated", "not_mirrored", "metrics"):
            if not plain[name]:
                del plain[name]
        if self.segments:
            del plain["task"]
        return plain

    @classmethod
    def from_json(cls, plain: Any, *, source: str = "summary") -> Summary:
        """Return a summary from the result of :meth:`to_json`; statistics over cases are computed again.

        Raises :class:`WorkspaceError` with ``source`` and the first invalid field.
        """
        if not isinstance(plain, dict) or not isinstance(plain.get("cases"), dict):
            raise WorkspaceError(
                f"{source}: field 'cases', found no metrics, expected the metrics of each case; evaluate again"
            )

        def read(kind: type[R], name: str, default: Any) -> R:
            return from_plain(kind, _with_nan(plain.get(name, default)), source=source, error=WorkspaceError)

        summary = summarize(read(Cases, "cases", {}), settings=read(MetricSettings, "settings", {}))
        return replace(
            summary,
            slices=read(dict[str, Statistics], "slices", {}),
            not_validated=read(tuple[str, ...], "not_validated", ()),
            not_mirrored=read(tuple[str, ...], "not_mirrored", ()),
            task=read(str, "task", SEGMENTATION),
            metrics=read(dict[str, float | None], "metrics", {}),
        )

    def write_json(self, path: Path) -> None:
        """Write the summary as strict JSON."""
        write_json(path, self.to_json())

    def write_csv(self, path: Path) -> None:
        """Write one row for each case and class; undefined values are left empty."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("case", "class", *METRICS))
        for case, classes in self.cases.items():
            for name, metrics in classes.items():
                values = (getattr(metrics, metric) for metric in METRICS)
                writer.writerow((case, name, *("" if math.isnan(value) else value for value in values)))
        write_text(path, text.getvalue())


def read_summary(path: Path) -> Summary:
    """Read a file of :meth:`Summary.write_json`; raise :class:`WorkspaceError` if its content is not a summary."""
    return Summary.from_json(read_json(path), source=str(path))


def summarize(cases: Mapping[str, Mapping[str, ClassMetrics]], *, settings: MetricSettings = _DEFAULT) -> Summary:
    """Summarize the metrics of cases, by case name; :func:`autoseg.evaluation.metrics.evaluate_case` returns each.

    ``settings`` are the settings of the measurement.
    """
    kept = {case: dict(classes) for case, classes in cases.items()}
    names = dict.fromkeys(name for classes in kept.values() for name in classes)
    found = {name: [classes[name] for classes in kept.values() if name in classes] for name in names}
    classes = {name: _class_statistics(metrics) for name, metrics in found.items()}
    mean_dice = statistics_of([statistics["dice"].mean for statistics in classes.values()]).mean
    pooled = {name: _pooled(metrics) for name, metrics in found.items()}
    return Summary(mean_dice=mean_dice, classes=classes, cases=kept, pooled=pooled, settings=settings)


def case_dice(metrics: Mapping[str, ClassMetrics]) -> float:
    """Return the mean over the defined Dice values of the classes of a case; NaN if none is defined."""
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
    """Return the statistics of the values that are not NaN."""
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
