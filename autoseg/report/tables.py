"""Tables of the report, and how its numbers are written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

ABSENT = "–"


@dataclass(frozen=True)
class Table:
    """A table for people: cells are plain text, which the page escapes; the first cell of a row names it."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    """What was left out, or what a column means."""


def number(value: object, digits: int = 3) -> str:
    """Write a number with so many decimal places, or a dash where there is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return ABSENT
    return f"{value:.{digits}f}"


def short(value: float) -> str:
    """Write a number to three digits, without an exponent below a hundred thousand."""
    if not math.isfinite(value):
        return ABSENT
    return f"{value:.0f}" if 1000 <= abs(value) < 1e5 else f"{value:.3g}"


def spread(mean: float, sd: float, digits: int = 3) -> str:
    """Write a mean and, where there is one, its standard deviation."""
    return number(mean, digits) + ("" if math.isnan(sd) else f" ± {number(sd, digits)}")


def counted(count: int, singular: str, plural: str | None = None) -> str:
    """Write a number of things, such as '1 fold' or '3 classes'."""
    return f"{count} {singular if count == 1 else plural or singular + 's'}"


def listed(names: Sequence[str], most: int) -> str:
    """Write names one after the other, of many the first ones and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
