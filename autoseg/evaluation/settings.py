"""What a person may choose about metrics and their comparison; nothing here needs a heavy package."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from autoseg.errors import PlanError

TOLERANCE = 2.0
"""Millimetres: about how far two experts' contours of an organ lie apart (Nikolov et al. 2018 measured 1 to 3)."""

CONFIDENCE = 0.95
RESAMPLES = 10_000
"""Of a bootstrap: the ends of a 95 % interval ask for thousands (Efron and Tibshirani 1993)."""

NAN = float("nan")

EMPTY_SCORES: dict[str, tuple[float | None, float | None]] = {
    "nan": (NAN, None),
    "omit": (NAN, NAN),
    "one": (1.0, 0.0),
    "zero": (0.0, 0.0),
}
"""Scores where the reference is empty: (nothing is predicted either, something is); None leaves what the formula gives.

``nan`` is nnU-Net's rule and the one that Metrics Reloaded (Maier-Hein et al., Nature Methods 21, 2024) starts from;
``one`` is that of BraTS 2017, ``zero`` that of BraTS 2015, and ``omit`` leaves such cases out.
"""


@dataclass(frozen=True)
class MetricSettings:
    """The tolerance in mm of the normalized surface distance, and the rule for empty references.

    Raises :class:`PlanError` for a tolerance that is not a distance, or for a rule that there is not.
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
    """How a confidence interval is found: its level, how often is resampled, and the seed of the generator."""

    confidence: float = CONFIDENCE
    resamples: int = RESAMPLES
    seed: int = 0
