"""JSON forms of the arguments of batchgenerators' transforms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autoseg.errors import PlanError

Interval = tuple[float, float]


@dataclass(frozen=True)
class FractionOfEdge:
    """Draws a length between two fractions of an image's edge; in JSON ``{"fraction_of_edge": [low, high]}``."""

    limits: Interval

    def __call__(self, shape: Sequence[int], axis: int) -> float:
        """Draw a length in voxels along ``axis``; batchgenerators calls this."""
        return float(np.random.uniform(*self.limits) * shape[axis])


@dataclass(frozen=True)
class OneOf:
    """Draws from one of several equally likely intervals; in JSON ``{"one_of": [[low, high], ...]}``."""

    intervals: tuple[Interval, ...]

    def __call__(self, *_: Any) -> float:
        """Draw a number; arguments of batchgenerators are ignored."""
        return float(np.random.uniform(*self.intervals[np.random.randint(len(self.intervals))]))


def from_json(value: Any) -> Any:
    """Convert lists to tuples, which batchgenerators expects, and the two forms above to their classes.

    batchgenerators accepts a function instead of a pair of numbers. Both classes draw from numpy's global generator,
    like batchgenerators' own transforms.
    """
    if isinstance(value, Mapping):
        if set(value) == {"fraction_of_edge"}:
            return FractionOfEdge(_interval("fraction_of_edge", value["fraction_of_edge"]))
        if set(value) == {"one_of"}:
            return OneOf(_intervals("one_of", value["one_of"]))
        return {key: from_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(from_json(item) for item in value)
    return value


def _interval(name: str, value: Any) -> Interval:
    if isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(n, int | float) for n in value):
        low, high = (float(n) for n in value)
        if low <= high:
            return low, high
    raise PlanError(f"augmentation.loader: '{name}': found {value!r}, expected two numbers, the lower one first")


def _intervals(name: str, value: Any) -> tuple[Interval, ...]:
    if not isinstance(value, list | tuple) or not value:
        raise PlanError(f"augmentation.loader: '{name}': found {value!r}, expected a list of pairs of numbers")
    return tuple(_interval(name, one) for one in value)
