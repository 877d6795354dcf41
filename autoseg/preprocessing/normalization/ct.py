"""Hounsfield units by the statistics of the dataset's foreground."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from autoseg.plan import Component
from autoseg.preprocessing.normalization import normalizations
from autoseg.preprocessing.normalization.arguments import FAR, check_range, refuse
from autoseg.preprocessing.normalization.statistics import mapped

_SMALLEST_DEVIATION = 1e-8
"""Keeps a dataset with a constant foreground finite."""


@normalizations.register("ct")
@dataclass(frozen=True)
class Ct:
    """Clip to the foreground's range, then subtract its mean and divide by its standard deviation, all in the plan."""

    fitted: ClassVar[Component] = {"lower": -FAR, "upper": FAR, "mean": 0.0, "deviation": 1.0}
    lower: float
    upper: float
    mean: float
    deviation: float

    def __post_init__(self) -> None:
        if self.lower != self.upper:
            check_range("ct", "lower, upper", (self.lower, self.upper))
        if not math.isfinite(self.mean):
            refuse("ct", "mean", self.mean, "a finite number")
        if not (math.isfinite(self.deviation) and self.deviation >= 0):
            refuse("ct", "deviation", self.deviation, "a number that is not below 0")

    @property
    def units(self) -> tuple[float, float]:
        """Offset and scale of what is stored."""
        return self.mean, max(self.deviation, _SMALLEST_DEVIATION)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Normalize [Z,Y,X]."""
        shift, scale = self.units
        return mapped(image, shift=shift, scale=scale, clip=(self.lower, self.upper))
