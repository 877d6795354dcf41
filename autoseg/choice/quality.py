"""How well the Dice that is expected of a case without a reference tells the one that is reached, on held-out cases."""

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
from autoseg.inference.export import label_map

ENOUGH_CASES = 3
"""Of fewer a rank correlation says nothing."""


@dataclass(frozen=True)
class CaseQuality:
    """Of one case, each the mean over its classes; None where no class has any.

    Expected and reached Dice are those of the same classes: of one that was not found nothing is expected.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    expected: float | None
    """Dice that the probabilities let expect (:func:`autoseg.evaluation.expected_dice.expected_dice`)."""
    agreement: float | None
    """Mean Dice between the label maps of the configurations; None for a single one."""
    dice: float | None
    """What was reached."""

    @classmethod
    def of(cls, expected: Mapping[str, float], agreed: float | None, reached: Mapping[str, float]) -> CaseQuality:
        """Sum the figures of each class up, of which NaN are not defined."""
        both = [name for name, dice in expected.items() if not math.isnan(dice + reached[name])]
        means = (mean_defined(figures[name] for name in both) for figures in (expected, reached))
        estimated, dice = map(_known, means)
        return cls(estimated, _known(agreed), dice)


@dataclass(frozen=True)
class Quality:
    """Of all held-out cases."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    cases: dict[str, CaseQuality]
    overconfidence: float | None
    """Mean of expected minus reached Dice, which is taken off what is expected of new cases."""
    error: float | None
    """Mean distance of expected and reached Dice once it is."""
    expected_correlation: float | None
    """Spearman's, of expected and reached Dice; None where there is none to tell."""
    agreement_correlation: float | None

    @classmethod
    def of(cls, cases: Mapping[str, CaseQuality]) -> Quality:
        """Sum cases up."""
        rows = [(case.expected, case.agreement, case.dice) for case in cases.values()]
        expected, agreed, reached = np.array(rows, dtype=np.float64).reshape(-1, 3).T
        gaps = expected - reached
        gaps = gaps[~np.isnan(gaps)]
        over = float(gaps.mean()) if gaps.size else None
        error = None if over is None else _rounded(float(np.abs(gaps - over).mean()))
        bias = None if over is None else _rounded(over)
        return cls(dict(cases), bias, error, _correlation(expected, reached), _correlation(agreed, reached))


def agreement_of(held_out: HeldOut, case: str, recipe: Recipe) -> float:
    """Return the mean Dice between the label maps of a recipe's configurations over a case's annotated classes."""
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
