"""Compare the Dice expected without a reference with the measured Dice, on held-out cases."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.stats import spearmanr

from autoseg.choice.held_out import HeldOut
from autoseg.choice.trial import Recipe
from autoseg.evaluation.agreement import agreement
from autoseg.evaluation.overlap import mean_defined
from autoseg.postprocessing.label_maps import label_map

ENOUGH_CASES = 3
"""Minimum number of cases for a rank correlation."""


@dataclass(frozen=True)
class CaseQuality:
    """Figures of one case, each a mean over its classes; None if no class has a value.

    Expected and measured Dice are means over the same classes. A class that was not predicted has no expected Dice.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    expected: float | None
    """Expected Dice, from the probabilities (:func:`autoseg.evaluation.expected_dice.expected_dice`)."""
    agreement: float | None
    """Mean Dice between the label maps of the configurations; None for a single configuration."""
    dice: float | None
    """Measured Dice."""

    @classmethod
    def of(cls, expected: Mapping[str, float], agreed: float | None, reached: Mapping[str, float]) -> CaseQuality:
        """Average the figures of the classes; NaN means that a class has no value."""
        both = [name for name, dice in expected.items() if not math.isnan(dice + reached[name])]
        means = (mean_defined(figures[name] for name in both) for figures in (expected, reached))
        estimated, dice = map(_known, means)
        return cls(estimated, _known(agreed), dice)


@dataclass(frozen=True)
class Quality:
    """Figures of all held-out cases."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    cases: dict[str, CaseQuality]
    overconfidence: float | None
    """Mean of expected minus measured Dice; prediction subtracts it from the expected Dice of new cases."""
    error: float | None
    """Mean absolute difference of expected and measured Dice after subtracting ``overconfidence``."""
    expected_correlation: float | None
    """Spearman rank correlation of expected and measured Dice; None if undefined or with too few cases."""
    agreement_correlation: float | None

    @classmethod
    def of(cls, cases: Mapping[str, CaseQuality]) -> Quality:
        """Summarize the figures of all cases."""
        rows = [(case.expected, case.agreement, case.dice) for case in cases.values()]
        expected, agreed, reached = np.array(rows, dtype=np.float64).reshape(-1, 3).T
        gaps = expected - reached
        gaps = gaps[~np.isnan(gaps)]
        over = float(gaps.mean()) if gaps.size else None
        error = None if over is None else _rounded(float(np.abs(gaps - over).mean()))
        bias = None if over is None else _rounded(over)
        return cls(dict(cases), bias, error, _correlation(expected, reached), _correlation(agreed, reached))


def agreement_of(held_out: HeldOut, case: str, recipe: Recipe) -> float:
    """Return the mean Dice between the label maps of a recipe's configurations, over a case's annotated classes."""
    each = (held_out.scores(name, case, mirror=recipe.mirror) for name in recipe.configurations)
    maps = [label_map([share], held_out.dataset) for share in each]
    return mean_defined(agreement(maps, held_out.dataset.annotated_classes(case)).values())


def _correlation(estimate: np.ndarray, reached: np.ndarray) -> float | None:
    known = ~np.isnan(estimate + reached)
    if np.count_nonzero(known) < ENOUGH_CASES or np.ptp(estimate[known]) == 0 or np.ptp(reached[known]) == 0:
        return None
    return _rounded(float(spearmanr(estimate[known], reached[known]).statistic))


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else _rounded(value)


def _rounded(value: float) -> float:
    return round(value, 4)
