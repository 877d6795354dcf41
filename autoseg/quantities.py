"""Kinds of numbers that a plan may give to what it names; :class:`autoseg.registry.Registry` holds values to them."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

Positive = Annotated[float, Gt(0), Lt(float("inf"))]
"""A finite number above 0."""
NonNegative = Annotated[float, Ge(0), Lt(float("inf"))]
"""0 or a finite number above it."""
Share = Annotated[float, Ge(0), Le(1)]
"""From 0 to 1."""
Decay = Annotated[float, Ge(0), Lt(1)]
"""What a moving average keeps of its past: from 0 to below 1."""
