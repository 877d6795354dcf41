"""Table of the Dice of many cases, its mean, and the bootstrap interval of a difference of two means."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autoseg.data.dataset import Dataset
from autoseg.evaluation.counting import count_voxels, disjoint_groups, numbered_pair
from autoseg.evaluation.overlap import NAN, ratio
from autoseg.evaluation.paired_statistics import bootstrap_interval
from autoseg.evaluation.settings import Bootstrap

Table = npt.NDArray[np.float64]
"""Dice [cases,classes]; NaN if a class was not annotated, or is in neither the prediction nor the reference."""

_DEFAULT = Bootstrap()


@dataclass(frozen=True)
class Difference:
    """A difference of mean Dice on the same cases, with its 95 % bootstrap interval; None if undefined."""

    mean: float | None
    low: float | None
    high: float | None

    @property
    def shown(self) -> bool:
        """Whether the whole interval is above zero."""
        return self.low is not None and self.low > 0


def case_dice(prediction: np.ndarray, reference: np.ndarray, dataset: Dataset, case: str) -> Table:
    """Compute the Dice of each class of the dataset [classes] between label values [Z,Y,X].

    The result equals :func:`autoseg.evaluation.metrics.evaluate_case`, without the distances, which take most of its
    time.
    """
    ignored = np.isin(reference, dataset.ignore) if dataset.ignore else None
    dice: dict[str, float] = {}
    for group in disjoint_groups(dataset.annotated_classes(case)):
        pair = numbered_pair(prediction, reference, group, ignored=ignored)
        both, predicted, expected = count_voxels(*pair, classes=len(group)).sum(axis=0).tolist()
        for number, name in enumerate(group, start=1):
            dice[name] = ratio(2 * both[number], predicted[number] + expected[number])
    return np.array([dice.get(name, NAN) for name in dataset.classes])


def class_means(table: Table) -> Table:
    """Return the mean Dice of each class [classes] over the cases where it is defined."""
    return _nanmean(table, axis=0)


def mean_dice(table: Table) -> float:
    """Return the mean over the classes of the mean over the cases, as in a summary of metrics."""
    return float(_nanmean(class_means(table), axis=0))


def difference(one: Table, other: Table, bootstrap: Bootstrap = _DEFAULT) -> Difference:
    """Return the mean Dice of ``one`` minus that of ``other`` on the same cases, with its bootstrap interval.

    The bootstrap resamples the influence of each case on the difference (Hampel 1974). A class in few cases therefore
    has the same weight as in the mean, and a class that a case defines in one table only causes no difference.
    """
    mean = mean_dice(one) - mean_dice(other)
    if np.isnan(mean):
        return Difference(None, None, None)
    low, high = bootstrap_interval(mean + _influence(one) - _influence(other), bootstrap)
    return Difference(mean, None if np.isnan(low) else low, None if np.isnan(high) else high)


def _influence(table: Table) -> Table:
    """Return the influence of each case [cases] on the mean Dice, times the number of cases; the sum is 0."""
    counts = np.count_nonzero(~np.isnan(table), axis=0)
    held = counts > 0
    influence: Table = np.nan_to_num(table[:, held] - class_means(table)[held]) / counts[held]
    return len(table) * influence.mean(axis=1)


def _nanmean(values: Table, *, axis: int) -> Table:
    with warnings.catch_warnings():
        # A mean of only NaN is NaN, as intended; numpy also warns.
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmean(values, axis=axis)
