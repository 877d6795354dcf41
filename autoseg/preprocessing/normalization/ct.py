"""Normalization of Hounsfield units with the statistics of the dataset's foreground."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from autoseg.images.statistics import mapped
from autoseg.preprocessing.normalization import normalizations
from autoseg.preprocessing.normalization.arguments import FAR, check_range, refuse
from autoseg.registry import Component

_SMALLEST_DEVIATION = 1e-8
"""Minimum std; avoids division by zero if the foreground is constant."""


@normalizations.register("ct")
@dataclass(frozen=True)
class Ct:
    """Clip to the foreground's range, then subtract its mean and divide by its std; the plan contains these values."""

    fitted: ClassVar[Component] = {"lower": -FAR, "upper": FAR, "mean": 0.0, "std": 1.0}
    lower: float
    upper: float
    mean: float
    std: float

    def __post_init__(self) -> None:
        if self.lower != self.upper:
            check_range("ct", "lower, upper", (self.lower, self.upper))
        if not math.isfinite(self.mean):
            refuse("ct", "mean", self.mean, "a finite number")
        if not (math.isfinite(self.std) and self.std >= 0):
            refuse("ct", "std", self.std, "a number that is not below 0")

    @property
    def units(self) -> tuple[float, float]:
        """Offset and scale of stored values."""
        return self.mean, max(self.std, _SMALLEST_DEVIATION)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Normalize [Z,Y,X]."""
        shift, scale = self.units
        return mapped(image, shift=shift, scale=scale, clip=(self.lower, self.upper))
