"""What each way of cleaning a structure would be worth, known from one look at the components of each case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from autoseg.choice.dice import Table
from autoseg.plan import Component
from autoseg.postprocessing.components import number_components
from autoseg.postprocessing.target import Target, bounding_box

MOST_VOLUMES = 64
"""Volumes that the search tries for a class, spread over those that components have."""
ROUNDING = 1e-12
"""Means of Dice that differ by less are equal: the milder way is taken."""


@dataclass(frozen=True)
class Components:
    """The connected components of a structure in one case, and how many of their voxels are right."""

    mm3: npt.NDArray[np.float64]
    predicted: npt.NDArray[np.int64]
    """Voxels of each component, without ignored ones, as in what follows."""
    right: npt.NDArray[np.int64]
    expected: int
    """Voxels of the reference."""


@dataclass(frozen=True)
class Cleaning:
    """A way to clean a structure: fill its holes or not, then remove nothing, what is small, or all but the largest."""

    fill: bool
    remove: Literal["nothing", "small", "others"]
    mm3: float = 0.0

    def steps(self, name: str) -> tuple[Component, ...]:
        """Return the steps of post-processing that do this to the class ``name``."""
        removal: dict[str, tuple[Component, ...]] = {
            "nothing": (),
            "small": ({"name": "remove_small", "of": name, "mm3": self.mm3},),
            "others": ({"name": "largest_component", "of": name},),
        }
        return (*(({"name": "fill_holes", "of": name},) if self.fill else ()), *removal[self.remove])


@dataclass(frozen=True)
class Found:
    """The best cleaning of a class, and what new cases may expect of it."""

    cleaning: Cleaning
    expected_gain: float
    """Mean Dice of the class where each case is cleaned as is best for the others, less that of no cleaning."""


def measure_components(
    labels: np.ndarray, reference: np.ndarray, target: Target, *, known: np.ndarray | None, voxel_mm3: float
) -> Components:
    """Measure the components of a structure in label values [Z,Y,X]; voxels count where ``known``, all with None."""
    expected = target.mask(reference) if known is None else target.mask(reference) & known
    mask = target.mask(labels)
    box = bounding_box(mask)
    if box is None:
        none = np.zeros(0, dtype=np.int64)
        return Components(none.astype(np.float64), none, none, int(np.count_nonzero(expected)))
    numbers, sizes = number_components(mask[box])
    counted = numbers if known is None else numbers * known[box]
    predicted = np.bincount(counted.ravel(), minlength=len(sizes) + 1)[1:]
    right = np.bincount(counted[expected[box]], minlength=len(sizes) + 1)[1:]
    return Components(sizes * voxel_mm3, predicted, right, int(np.count_nonzero(expected)))


def find_cleaning(cases: Sequence[tuple[Components, Components]]) -> Found:
    """Find the best way to clean a class, of whose components each case tells as they are and with holes filled."""
    ways = _ways(cases)
    table = np.array([[_dice(case[way.fill], way) for way in ways] for case in cases]).reshape(len(cases), len(ways))
    sums, counts = np.nansum(table, axis=0), np.count_nonzero(~np.isnan(table), axis=0)
    best = _first_largest(sums, counts)
    # Each case in turn is not looked at where the way is chosen that is tried on it.
    others = [_first_largest(sums - np.nan_to_num(row), counts - ~np.isnan(row)) for row in table]
    cleaned = np.array([row[place] for row, place in zip(table, others, strict=True)])
    return Found(ways[best], _mean(cleaned) - _mean(table[:, 0]))


def _ways(cases: Sequence[tuple[Components, Components]]) -> list[Cleaning]:
    """List what is tried, the mildest first."""
    ways = [Cleaning(fill, "nothing") for fill in (False, True)]
    ways += [Cleaning(fill, "others") for fill in (False, True)]
    for fill in (False, True):
        found = np.unique(np.concatenate([case[fill].mm3 for case in cases] or [np.zeros(0)]))
        # Between two volumes, so that no rounding decides whether a component stays.
        between = np.sqrt(found[:-1] * found[1:])
        places = np.unique(np.linspace(0, len(between) - 1, min(len(between), MOST_VOLUMES)).round().astype(int))
        ways += [Cleaning(fill, "small", float(f"{volume:.6g}")) for volume in between[places]]
    return ways


def _dice(components: Components, way: Cleaning) -> float:
    if way.remove == "nothing" or not len(components.mm3):
        kept = np.ones(len(components.mm3), dtype=bool)
    else:
        smallest = components.mm3.max() if way.remove == "others" else way.mm3
        kept = components.mm3 >= smallest
    whole = int(components.predicted[kept].sum()) + components.expected
    return 2 * int(components.right[kept].sum()) / whole if whole else np.nan


def _first_largest(sums: Table, counts: npt.NDArray[np.int64]) -> int:
    means = np.divide(sums, counts, out=np.full(len(sums), -np.inf), where=counts > 0)
    return int(np.argmax(means >= means.max() - ROUNDING))


def _mean(values: Table) -> float:
    found = values[~np.isnan(values)]
    return float(found.mean()) if len(found) else 0.0
