"""Colours that people with any kind of colour vision can tell apart, on black and on white."""

from __future__ import annotations

COLOURS = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#0072B2", "#999999")
"""Okabe and Ito's, without yellow, which vanishes on white, and with grey for black, which vanishes on images."""


def colour(index: int) -> str:
    """Return the colour of the class, fold or configuration at a place in its list; there are seven, then again."""
    return COLOURS[index % len(COLOURS)]
