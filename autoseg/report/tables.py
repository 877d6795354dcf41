"""Tables and number formats of the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

ABSENT = "–"


@dataclass(frozen=True)
class Table:
    """A table of plain text cells, which the page escapes; the first cell of each row is its heading."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    """Note below the table: what is left out, or what a column means."""


def number(value: object, digits: int = 3) -> str:
    """Format a number with ``digits`` decimal places; a dash if it is not a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return ABSENT
    return f"{value:.{digits}f}"


def short(value: float) -> str:
    """Format a number with three significant digits; from 1000 to 100 000 as an integer, without an exponent."""
    if not math.isfinite(value):
        return ABSENT
    return f"{value:.0f}" if 1000 <= abs(value) < 1e5 else f"{value:.3g}"


def spread(mean: float, sd: float, digits: int = 3) -> str:
    """Format a mean and its standard deviation, if this is defined."""
    return number(mean, digits) + ("" if math.isnan(sd) else f" ± {number(sd, digits)}")


def counted(count: int, singular: str, plural: str | None = None) -> str:
    """Format a count with its noun, such as '1 fold' or '3 classes'."""
    return f"{count} {singular if count == 1 else plural or singular + 's'}"


def listed(names: Sequence[str], most: int) -> str:
    """Join names with commas; of more than ``most`` names, the first ones and the number of the others."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
