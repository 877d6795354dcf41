"""Numbers as a plan's explanation writes them."""

from __future__ import annotations

from collections.abc import Sequence

AXES = ("z", "y", "x")
"""Names of the axes after transposition; those of two dimensions are the last two."""


def numbers(values: Sequence[float | int | None], between: str = ", ") -> str:
    """Write numbers to four digits; None stands for each case's own."""
    return between.join("own" if value is None else f"{value:.4g}" for value in values)


def times(values: Sequence[float | int | None]) -> str:
    """Write a shape or a spacing, such as 128×160×96."""
    return numbers(values, "×")
