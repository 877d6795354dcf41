"""Dice of many cases as a table, its mean, and how sure a difference of two such means is."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autoseg.dataset import Dataset

Table = npt.NDArray[np.float64]
"""Dice [cases,classes]; NaN where a class was not annotated or is in neither map."""

RESAMPLES = 2000
"""Bootstrap samples: the ends of a 95 % interval are then sure to about a twentieth of its width."""
CONFIDENCE = 0.95
_NUMBERS_AT_ONCE = 4_000_000
"""Table entries of the bootstrap samples that are held at once, 32 MB."""


@dataclass(frozen=True)
class Difference:
    """A difference of mean Dice on the same cases, with its bootstrap confidence interval; None with one case."""

    mean: float | None
    low: float | None
    high: float | None

    @property
    def shown(self) -> bool:
        """Whether the whole interval lies above zero."""
        return self.low is not None and self.low > 0


def case_dice(prediction: np.ndarray, reference: np.ndarray, dataset: Dataset, case: str) -> Table:
    """Compute Dice of each of the dataset's classes [classes] between label values [Z,Y,X].

    Equal to :func:`autoseg.evaluation.metrics.evaluate_case` without its distances, which take most of its time.
    """
    if dataset.ignore:
        known = ~np.isin(reference, dataset.ignore)
        prediction, reference = prediction * known, reference * known
    dice = np.full(len(dataset.classes), np.nan)
    annotated = dataset.annotated_classes(case)
    for place, (name, values) in enumerate(dataset.classes.items()):
        if name not in annotated:
            continue
        predicted, expected = _mask(prediction, values), _mask(reference, values)
        whole = int(np.count_nonzero(predicted)) + int(np.count_nonzero(expected))
        if whole:
            dice[place] = 2 * int(np.count_nonzero(predicted & expected)) / whole
    return dice


def class_means(table: Table) -> Table:
    """Return the mean over the cases of each class [classes], cases where it is not defined left out."""
    return _nanmean(table, axis=0)


def mean_dice(table: Table) -> float:
    """Return the mean over the classes of their mean over the cases, as a summary of metrics gives it."""
    return float(_nanmean(class_means(table), axis=0))


def difference(one: Table, other: Table, *, seed: int = 0) -> Difference:
    """Return mean Dice of ``one`` minus that of ``other``, of the same cases, with a percentile bootstrap over cases."""
    from scipy.stats import bootstrap

    mean = mean_dice(one) - mean_dice(other)
    if np.isnan(mean) or len(one) < 2:
        return Difference(None if np.isnan(mean) else mean, None, None)

    def statistic(cases: npt.NDArray[np.intp], axis: int = -1) -> Table:
        # The samples come in the rows: [samples,cases] with axis -1.
        drawn = np.moveaxis(cases, axis, -1)
        return _means(one[drawn]) - _means(other[drawn])

    interval = bootstrap(
        (np.arange(len(one)),),
        statistic,
        n_resamples=RESAMPLES,
        batch=max(1, _NUMBERS_AT_ONCE // one.size),
        vectorized=True,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    low, high = float(interval.low), float(interval.high)
    return Difference(mean, None if np.isnan(low) else low, None if np.isnan(high) else high)


def _means(tables: Table) -> Table:
    return _nanmean(_nanmean(tables, axis=-2), axis=-1)


def _nanmean(values: Table, *, axis: int) -> Table:
    with warnings.catch_warnings():
        # Of nothing but NaN the mean is NaN, which is meant.
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmean(values, axis=axis)


def _mask(labels: np.ndarray, values: Sequence[int]) -> npt.NDArray[np.bool_]:
    return labels == values[0] if len(values) == 1 else np.isin(labels, values)
