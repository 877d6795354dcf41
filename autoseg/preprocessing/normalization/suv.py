"""Standardized uptake values of PET."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from autoseg.plan import Component
from autoseg.preprocessing.normalization import normalizations
from autoseg.preprocessing.normalization.arguments import FAR, check_above_zero, check_range, refuse
from autoseg.preprocessing.normalization.statistics import mapped


@normalizations.register("suv")
@dataclass(frozen=True)
class Suv:
    """Clip uptake to the plan's range and divide by its scale: alike in all cases, so that it stays quantitative.

    Files must hold uptake values. Activity in Bq/ml cannot be turned into them here: body weight, injected dose and
    times are in DICOM headers, and no other format keeps them.
    """

    fitted: ClassVar[Component] = {"upper": FAR, "scale": 1.0}
    upper: float
    scale: float
    """Uptake that becomes 1."""
    lower: float = 0.0
    gamma: float = 1.0
    """Power to which the scaled uptake is raised; below 1 it shows weak uptake beside strong."""

    def __post_init__(self) -> None:
        check_range("suv", "lower, upper", (self.lower, self.upper))
        if self.lower < 0:
            refuse("suv", "lower", self.lower, "a number that is not below 0")
        check_above_zero("suv", "scale", self.scale)
        check_above_zero("suv", "gamma", self.gamma)

    @property
    def units(self) -> tuple[float, float] | None:
        """Offset and scale of what is stored."""
        return (0.0, self.scale) if self.gamma == 1 else None

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Normalize [Z,Y,X]."""
        result = mapped(image, scale=self.scale, clip=(self.lower, self.upper))
        return result if self.gamma == 1 else np.power(result, np.float32(self.gamma), out=result)
