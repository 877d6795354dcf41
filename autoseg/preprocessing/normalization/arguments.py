"""Checks of the arguments of a normalization, beyond their types."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from autoseg.errors import PlanError

FAR = 1e30
"""Placeholder for an unknown end of a range; larger than any intensity."""


def refuse(name: str, argument: str, found: Any, expected: str, *, family: str = "normalizations") -> None:
    """Raise :class:`PlanError` with the name of the argument, the value found and the value expected."""
    shown = list(found) if isinstance(found, tuple) else found
    raise PlanError(f"{family} '{name}', argument '{argument}': found {shown!r}, expected {expected}")


def check_range(name: str, argument: str, found: Sequence[float], *, family: str = "normalizations") -> None:
    """Check for two finite numbers in ascending order."""
    if len(found) != 2 or not all(math.isfinite(n) for n in found) or found[0] >= found[1]:
        refuse(name, argument, found, "two numbers, the smaller one first", family=family)


def check_windows(name: str, windows: Sequence[Sequence[float]], *, family: str = "normalizations") -> None:
    """Check for at least one window, each with a centre and a width above 0."""
    for window in windows or [()]:
        if len(window) != 2 or not all(math.isfinite(n) for n in window) or window[1] <= 0:
            expected = "a centre and a width above 0 for each window, such as [[40, 400]]"
            refuse(name, "windows", windows, expected, family=family)


def check_above_zero(name: str, argument: str, found: float) -> None:
    """Check that a number is finite and above 0."""
    if not (math.isfinite(found) and found > 0):
        refuse(name, argument, found, "a number above 0")


def check_percentages(name: str, argument: str, found: Sequence[float]) -> None:
    """Check for at least two ascending percentages from 0 to 100."""
    ascends = all(low < high for low, high in pairwise(found))
    if len(found) < 2 or not ascends or not (found[0] >= 0 and found[-1] <= 100):
        refuse(name, argument, found, "at least two numbers from 0 to 100, ascending")
