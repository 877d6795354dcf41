"""User settings of metrics and comparisons. This module imports no heavy package, so that the CLI starts fast."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from autoseg.errors import PlanError

TOLERANCE = 2.0
"""In mm: the typical distance of the organ contours of two experts (Nikolov et al. 2018 measured 1 to 3 mm)."""

CONFIDENCE = 0.95
RESAMPLES = 10_000
"""Number of bootstrap resamples: a 95 % interval needs thousands (Efron and Tibshirani 1993)."""

NAN = float("nan")

EMPTY_SCORES: dict[str, tuple[float | None, float | None]] = {
    "nan": (NAN, None),
    "omit": (NAN, NAN),
    "one": (1.0, 0.0),
    "zero": (0.0, 0.0),
}
"""Scores of an empty reference: (score if the prediction is empty too, score otherwise). None: use the formula.

``nan`` is the rule of nnU-Net and the default of Metrics Reloaded (Maier-Hein et al., Nature Methods 21, 2024). ``one``
is the rule of BraTS 2017, and ``zero`` that of BraTS 2015. ``omit`` leaves such cases out.
"""


@dataclass(frozen=True)
class MetricSettings:
    """The tolerance in mm of the normalized surface distance, and the rule for empty references.

    Raises :class:`PlanError` for a tolerance that is negative or not finite, or for an unknown rule.
    """

    tolerance: float = TOLERANCE
    empty: str = "nan"

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        if not (math.isfinite(self.tolerance) and self.tolerance >= 0):
            raise PlanError(f"tolerance {self.tolerance}: expected a distance in mm, 0 or more")
        if self.empty not in EMPTY_SCORES:
            raise PlanError(f"empty '{self.empty}': expected one of {', '.join(EMPTY_SCORES)}")


@dataclass(frozen=True)
class Bootstrap:
    """Settings of a bootstrap interval: confidence level, number of resamples, and seed."""

    confidence: float = CONFIDENCE
    resamples: int = RESAMPLES
    seed: int = 0
