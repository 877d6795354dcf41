"""Normalization of standardized uptake values (SUV) of PET."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from autoseg.images.statistics import mapped
from autoseg.preprocessing.normalization import normalizations
from autoseg.preprocessing.normalization.arguments import FAR, check_above_zero, check_range, refuse
from autoseg.registry import Component


@normalizations.register("suv")
@dataclass(frozen=True)
class Suv:
    """Clip uptake to the plan's range and divide by its scale; the same in all cases, so values stay quantitative.

    Files must contain uptake values. Activity in Bq/ml cannot be converted here: the conversion needs body weight,
    injected dose and times, which only DICOM headers contain.
    """

    fitted: ClassVar[Component] = {"upper": FAR, "scale": 1.0}
    upper: float
    scale: float
    """Uptake that becomes the value 1."""
    lower: float = 0.0
    gamma: float = 1.0
    """Exponent of the scaled uptake; below 1, weak uptake becomes more visible."""

    def __post_init__(self) -> None:
        check_range("suv", "lower, upper", (self.lower, self.upper))
        if self.lower < 0:
            refuse("suv", "lower", self.lower, "a number that is not below 0")
        check_above_zero("suv", "scale", self.scale)
        check_above_zero("suv", "gamma", self.gamma)

    @property
    def units(self) -> tuple[float, float] | None:
        """Offset and scale of stored values."""
        return (0.0, self.scale) if self.gamma == 1 else None

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Normalize [Z,Y,X]."""
        result = mapped(image, scale=self.scale, clip=(self.lower, self.upper))
        return result if self.gamma == 1 else np.power(result, np.float32(self.gamma), out=result)
