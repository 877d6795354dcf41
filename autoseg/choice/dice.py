"""Dice of many cases as a table, its mean, and how sure a difference of two such means is."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autoseg.dataset import Dataset
from autoseg.evaluation.counting import count_voxels, disjoint_groups, numbered_pair
from autoseg.evaluation.overlap import NAN, ratio
from autoseg.evaluation.paired_statistics import bootstrap_interval
from autoseg.evaluation.settings import Bootstrap

Table = npt.NDArray[np.float64]
"""Dice [cases,classes]; NaN where a class was not annotated or is in neither map."""

_DEFAULT = Bootstrap()


@dataclass(frozen=True)
class Difference:
    """A difference of mean Dice on the same cases, with its 95 % bootstrap interval; None where there is none."""

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
    ignored = np.isin(reference, dataset.ignore) if dataset.ignore else None
    dice: dict[str, float] = {}
    for group in disjoint_groups(dataset.annotated_classes(case)):
        pair = numbered_pair(prediction, reference, group, ignored=ignored)
        both, predicted, expected = count_voxels(*pair, classes=len(group)).sum(axis=0).tolist()
        for number, name in enumerate(group, start=1):
            dice[name] = ratio(2 * both[number], predicted[number] + expected[number])
    return np.array([dice.get(name, NAN) for name in dataset.classes])


def class_means(table: Table) -> Table:
    """Return the mean over the cases of each class [classes], cases where it is not defined left out."""
    return _nanmean(table, axis=0)


def mean_dice(table: Table) -> float:
    """Return the mean over the classes of their mean over the cases, as a summary of metrics gives it."""
    return float(_nanmean(class_means(table), axis=0))


def difference(one: Table, other: Table, bootstrap: Bootstrap = _DEFAULT) -> Difference:
    """Return mean Dice of ``one`` minus that of ``other`` on the same cases, and bound it by resampling the cases.

    What is resampled is each case's influence on the difference (Hampel 1974), so that a class that few cases hold
    weighs as much as it does in the mean, and a case that defines a class in one table only is no difference in itself.
    """
    mean = mean_dice(one) - mean_dice(other)
    if np.isnan(mean):
        return Difference(None, None, None)
    low, high = bootstrap_interval(mean + _influence(one) - _influence(other), bootstrap)
    return Difference(mean, None if np.isnan(low) else low, None if np.isnan(high) else high)


def _influence(table: Table) -> Table:
    """Return by how much each case [cases] moves the mean Dice, times the number of cases; the sum is 0."""
    counts = np.count_nonzero(~np.isnan(table), axis=0)
    held = counts > 0
    deviations: Table = np.nan_to_num(table[:, held] - class_means(table)[held]) / counts[held]
    return len(table) * deviations.mean(axis=1)


def _nanmean(values: Table, *, axis: int) -> Table:
    with warnings.catch_warnings():
        # Of nothing but NaN the mean is NaN, which is meant.
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmean(values, axis=axis)
