"""Read and format sizes, durations, shapes and numbers for users."""

from __future__ import annotations

import re
from collections.abc import Sequence

from autoseg.errors import PlanError

_SIZE = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>[kmgt]?i?b?)", re.IGNORECASE)
_DURATION = re.compile(
    r"(?:(?P<h>\d+(?:\.\d+)?)h)?(?:(?P<m>\d+(?:\.\d+)?)m(?:in)?)?(?:(?P<s>\d+(?:\.\d+)?)s?)?", re.IGNORECASE
)


def parse_size(text: str) -> int:
    """Read a size such as ``8GB``, ``512MB`` or plain bytes; units are powers of 1024."""
    match = _SIZE.fullmatch(text.strip())
    if not match or float(match["number"]) <= 0:
        raise PlanError(f"memory '{text}': expected a size above zero, such as 8GB or 512MB")
    power = "kmgt".find(match["unit"][:1].lower()) + 1 if match["unit"][:1].lower() in tuple("kmgt") else 0
    return int(float(match["number"]) * 1024**power)


def parse_duration(text: str) -> float:
    """Read a duration such as ``4h``, ``1h30m``, ``25m``, ``90s`` or plain seconds."""
    match = _DURATION.fullmatch(text.strip())
    seconds = 0.0
    if match and match.group(0):
        seconds = sum(float(match[unit] or 0) * factor for unit, factor in (("h", 3600), ("m", 60), ("s", 1)))
    if seconds <= 0:
        raise PlanError(f"time '{text}': expected a duration above zero, such as 4h, 1h30m, 25m or 90s")
    return seconds


def format_duration(seconds: float) -> str:
    """Format a duration for :func:`parse_duration`, with at most two units: 8h, 1h30m, 25m, 90s."""
    whole = round(seconds)
    if whole < 120:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 120:
        return f"{minutes}m{rest}s" if rest else f"{minutes}m"
    hours, minutes = divmod(round(whole / 60), 60)
    return f"{hours}h{minutes}m" if minutes else f"{hours}h"


AXES = ("z", "y", "x")
"""Names of the axes after transposition; 2D arrays have the last two."""


def numbers(values: Sequence[float | int | None], between: str = ", ") -> str:
    """Format numbers with four significant digits; None, each case's own value, becomes ``own``."""
    return between.join("own" if value is None else f"{value:.4g}" for value in values)


def times(values: Sequence[float | int | None]) -> str:
    """Format a shape or a spacing, such as 128×160×96."""
    return numbers(values, "×")
