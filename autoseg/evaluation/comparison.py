"""Comparison of two evaluations of the same cases, class by class."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from autoseg.errors import DatasetError, PlanError
from autoseg.evaluation.paired_statistics import PairedStatistics, Values, holm, paired_statistics
from autoseg.evaluation.settings import Bootstrap
from autoseg.evaluation.summary import Summary, read_summary

logger = logging.getLogger("autoseg.evaluation")

NAN = float("nan")
ALL_CLASSES = "mean of classes"
_HIGHER = ("dice", "iou", "precision", "recall", "specificity", "accuracy", "mcc", "nsd")
_LOWER = ("hd", "hd95", "assd", "false_positives", "false_negatives")
_NEAR_ZERO = ("volume_difference", "relative_volume_difference")
"""Metrics whose best value is zero. Their absolute values are compared."""
COMPARABLE = (*_HIGHER, *_LOWER, *_NEAR_ZERO)
_EMPTY = PairedStatistics(NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN)
_DEFAULT = Bootstrap()


@dataclass(frozen=True)
class Pairs:
    """The values of one metric of one class, in the cases where it is defined in both evaluations."""

    metric: str
    name: str
    cases: tuple[str, ...]
    first: Values
    second: Values
    left_out: int
    """Number of common cases that are left out, because the metric is undefined in one or both evaluations."""


@dataclass(frozen=True)
class ComparedClass:
    """The change from A to B in one metric of one class, or in its mean over the classes of each case.

    The p-values of single classes are also given with Holm's correction over the classes. The mean over the classes is
    a separate hypothesis and has no corrected p-values.
    """

    pairs: Pairs
    first_mean: float
    second_mean: float
    better: int
    worse: int
    equal: int
    statistics: PairedStatistics
    wilcoxon_holm: float = NAN
    t_test_holm: float = NAN
    median_test_holm: float = NAN


@dataclass(frozen=True)
class Comparison:
    """Metrics of B compared with those of A, over the cases in both evaluations."""

    first: str
    second: str
    cases: tuple[str, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    bootstrap: Bootstrap
    rows: tuple[ComparedClass, ...]


def read_evaluation(path: Path) -> Summary:
    """Read a summary.json, or the one in a folder; raise :class:`DatasetError` if the folder contains none."""
    file = path / "summary.json" if path.is_dir() else path
    if path.is_dir() and not file.exists():
        raise DatasetError(f"{path}: found no summary.json; run 'autoseg evaluate {path} REFERENCE' first")
    return read_summary(file)


def compare(
    first: Summary,
    second: Summary,
    *,
    metrics: Sequence[str] = ("dice",),
    names: tuple[str, str] = ("A", "B"),
    bootstrap: Bootstrap = _DEFAULT,
) -> Comparison:
    """Compare ``metrics`` of two evaluations for each class, and for the mean over the classes.

    Cases and classes in only one evaluation are left out with a warning. Raises :class:`PlanError` for a metric that
    cannot be compared. Raises :class:`DatasetError` if the evaluations have no case or no class in common, or were
    measured with different settings.
    """
    _check_metrics(metrics)
    _check_settings(first, second, metrics, names)
    cases = _common("case", list(first.cases), list(second.cases), names)
    classes = _common("class", list(first.classes), list(second.classes), names)
    rows: list[ComparedClass] = []
    for metric in metrics:
        pairs = [_pairs(first, second, cases, metric=metric, name=name) for name in classes]
        found = [_compared(pair, bootstrap) for pair in pairs]
        rows.extend(_corrected(found))
        if len(classes) > 1:
            rows.append(_compared(_mean_over_classes(pairs, cases), bootstrap))
    return Comparison(
        first=names[0],
        second=names[1],
        cases=tuple(cases),
        only_first=tuple(sorted(first.cases.keys() - second.cases.keys())),
        only_second=tuple(sorted(second.cases.keys() - first.cases.keys())),
        bootstrap=bootstrap,
        rows=tuple(rows),
    )


def _check_metrics(metrics: Sequence[str]) -> None:
    for metric in metrics:
        if metric not in COMPARABLE:
            near = difflib.get_close_matches(metric, COMPARABLE, n=len(COMPARABLE), cutoff=0.5)
            others = [name for name in COMPARABLE if name not in near]
            raise PlanError(f"metric '{metric}': expected one of {', '.join([*near, *others])}")


def _check_settings(first: Summary, second: Summary, metrics: Sequence[str], names: tuple[str, str]) -> None:
    for option, wanted in (("tolerance", "nsd" in metrics), ("empty", True)):
        one, other = getattr(first.settings, option), getattr(second.settings, option)
        if wanted and one != other:
            raise DatasetError(
                f"{names[1]}: found --{option} {other}, expected {one} as in {names[0]}; evaluate one of them again"
            )


def _common(what: str, first: list[str], second: list[str], names: tuple[str, str]) -> list[str]:
    """Return the common names, in the order of the first list; log a warning for names in only one list."""
    common = [name for name in first if name in set(second)]
    if not common:
        found = " and ".join(f"'{some[0]}'" if some else "none" for some in (first, second))
        raise DatasetError(
            f"{names[0]} and {names[1]}: found no {what} in common (first names: {found}); compare evaluations of the "
            f"same data"
        )
    for name, some, other in ((names[0], first, second), (names[1], second, first)):
        alone = sorted(set(some) - set(other))
        if alone:
            logger.warning("only %s contains the %s %s: left out", name, what, ", ".join(alone))
    return common


def _pairs(first: Summary, second: Summary, cases: Sequence[str], *, metric: str, name: str) -> Pairs:
    measured = [case for case in cases if name in first.cases[case] and name in second.cases[case]]
    values = np.array(
        [[getattr(summary.cases[case][name], metric) for case in measured] for summary in (first, second)],
        dtype=np.float64,
    )
    if metric in _NEAR_ZERO:
        values = np.abs(values)
    return _defined(metric, name, measured, values)


def _mean_over_classes(pairs: Sequence[Pairs], cases: Sequence[str]) -> Pairs:
    """Return, for each case, the mean over the classes whose metric is defined in both evaluations."""
    values: dict[str, list[tuple[float, float]]] = {case: [] for case in cases}
    for pair in pairs:
        for case, *both in zip(pair.cases, pair.first.tolist(), pair.second.tolist(), strict=True):
            values[case].append((both[0], both[1]))
    means = [np.mean(found, axis=0) if found else np.array((NAN, NAN)) for found in values.values()]
    return _defined(pairs[0].metric, ALL_CLASSES, cases, np.array(means).T)


def _defined(metric: str, name: str, cases: Sequence[str], values: Values) -> Pairs:
    """Leave out the cases where one of the two rows of ``values`` [2, cases] is NaN."""
    kept = np.logical_not(np.isnan(values).any(axis=0))
    names = tuple(case for case, keep in zip(cases, kept, strict=True) if keep)
    return Pairs(metric, name, names, values[0, kept], values[1, kept], int((~kept).sum()))


def _compared(pairs: Pairs, bootstrap: Bootstrap) -> ComparedClass:
    if not pairs.cases:
        return ComparedClass(pairs, NAN, NAN, 0, 0, 0, _EMPTY)
    gain = pairs.second - pairs.first if pairs.metric in _HIGHER else pairs.first - pairs.second
    return ComparedClass(
        pairs,
        first_mean=float(pairs.first.mean()),
        second_mean=float(pairs.second.mean()),
        better=int((gain > 0).sum()),
        worse=int((gain < 0).sum()),
        equal=int((gain == 0).sum()),
        statistics=paired_statistics(pairs.first, pairs.second, bootstrap),
    )


def _corrected(rows: Sequence[ComparedClass]) -> list[ComparedClass]:
    """Correct the p-values of each test for the number of classes."""
    tests = ("wilcoxon", "t_test", "median_test")
    columns = [holm([getattr(row.statistics, test) for row in rows]) for test in tests]
    return [
        replace(row, **{f"{test}_holm": p for test, p in zip(tests, corrected, strict=True)})
        for row, *corrected in zip(rows, *columns, strict=True)
    ]
