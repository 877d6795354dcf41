"""Overlap scores of one class, computed from true and false positives and negatives (voxels)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

NAN = float("nan")


@dataclass(frozen=True)
class OverlapScores:
    """Scores between 0 and 1 (MCC: between -1 and 1); undefined scores are NaN.

    Dice and IoU are NaN if the class is absent in both maps, precision if it is not predicted, recall if it is absent
    in the reference, and specificity if it fills the reference. The MCC (Matthews 1975) is NaN if the class is absent
    in both maps or fills both maps. It is 0 if this is true of only one map, the limit of the formula (Chicco and
    Jurman, BMC Genomics 21, 2020).
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
    """Compute scores from true positives, false positives, false negatives and true negatives (in this order).

    The counts are those of one case, or sums over many cases. True negatives may be unknown (NaN); the scores that need
    them are then NaN.
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
    """Return ``part / whole``; NaN if ``whole`` is 0."""
    return part / whole if whole else NAN


def _matthews(both: int, only_predicted: int, only_expected: int, neither: float) -> float:
    margins = (both + only_predicted, both + only_expected, neither + only_predicted, neither + only_expected)
    if not all(margins):
        return 0.0 if only_predicted or only_expected else NAN
    # Square roots of products of shares, correct minus wrong: the result is exactly 1 if all voxels are correct.
    right = (both, both, neither, neither)
    return math.sqrt(_product(right, margins)) - math.sqrt(
        _product((only_predicted, only_expected, only_predicted, only_expected), margins)
    )


def _product(parts: tuple[float, ...], wholes: tuple[float, ...]) -> float:
    return math.prod(part / whole for part, whole in zip(parts, wholes, strict=True))


def mean_defined(values: Iterable[float]) -> float:
    """Return the mean of the values that are not NaN; NaN if all are."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else NAN
