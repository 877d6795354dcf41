"""Scores of a class against all the rest, from the numbers of voxels that two maps agree and disagree on."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

NAN = float("nan")


@dataclass(frozen=True)
class OverlapScores:
    """Scores between 0 and 1, the MCC between -1 and 1; what is not defined is NaN.

    Dice and IoU are NaN where neither map has the class, precision where it is not predicted, recall where the
    reference lacks it, specificity where the reference has nothing else. The MCC (Matthews 1975) is NaN where both maps
    have nothing, or nothing else, and 0 where only one has, which is its limit (Chicco and Jurman, BMC Genomics 21,
    2020).
    """

    dice: float
    iou: float
    precision: float
    recall: float
    specificity: float
    accuracy: float
    mcc: float

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


def overlap_scores(both: int, only_predicted: int, only_expected: int, neither: float) -> OverlapScores:
    """Score true positives, false positives, false negatives and true negatives, of a case or pooled over many.

    True negatives may be unknown (NaN); what needs them is NaN then.
    """
    wrong = only_predicted + only_expected
    return OverlapScores(
        dice=ratio(2 * both, 2 * both + wrong),
        iou=ratio(both, both + wrong),
        precision=ratio(both, both + only_predicted),
        recall=ratio(both, both + only_expected),
        specificity=ratio(neither, neither + only_predicted),
        accuracy=ratio(both + neither, both + neither + wrong),
        mcc=_matthews(both, only_predicted, only_expected, neither),
    )


def ratio(part: float, whole: float) -> float:
    """Return a part of a whole; NaN where there is no whole."""
    return part / whole if whole else NAN


def _matthews(both: int, only_predicted: int, only_expected: int, neither: float) -> float:
    margins = (both + only_predicted, both + only_expected, neither + only_predicted, neither + only_expected)
    if not all(margins):
        return 0.0 if only_predicted or only_expected else NAN
    # The geometric means of the four shares that are right, and of those that are wrong: exactly 1 where all is right.
    right = (both, both, neither, neither)
    return math.sqrt(_product(right, margins)) - math.sqrt(
        _product((only_predicted, only_expected, only_predicted, only_expected), margins)
    )


def _product(parts: tuple[float, ...], wholes: tuple[float, ...]) -> float:
    return math.prod(part / whole for part, whole in zip(parts, wholes, strict=True))


def mean_defined(values: Iterable[float]) -> float:
    """Return the mean of those that are defined; NaN where none is."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else NAN
