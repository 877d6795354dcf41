"""Dice of each way to clean a structure, computed from one measurement of the components of each case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from autoseg.choice.dice import Table
from autoseg.postprocessing.components import number_components
from autoseg.postprocessing.target import Target, bounding_box
from autoseg.registry import Component

MOST_VOLUMES = 64
"""Maximum number of volume thresholds tried for a class, distributed over the volumes of its components."""
ROUNDING = 1e-12
"""Means of Dice that differ by less count as equal; the way with the smaller change is used then."""


@dataclass(frozen=True)
class Components:
    """The connected components of a structure in one case, with their volumes and numbers of correct voxels."""

    mm3: npt.NDArray[np.float64]
    predicted: npt.NDArray[np.int64]
    """Voxels of each component; this and the next numbers do not count ignored voxels."""
    right: npt.NDArray[np.int64]
    expected: int
    """Voxels of the structure in the reference."""


@dataclass(frozen=True)
class Cleaning:
    """A way to clean a structure: fill its holes or not, then remove no, small or all other components.

    ``others`` are all components except the largest.
    """

    fill: bool
    remove: Literal["nothing", "small", "others"]
    mm3: float = 0.0

    def steps(self, name: str) -> tuple[Component, ...]:
        """Return the post-processing steps that clean the class ``name`` in this way."""
        removal: dict[str, tuple[Component, ...]] = {
            "nothing": (),
            "small": ({"name": "remove_small", "of": name, "mm3": self.mm3},),
            "others": ({"name": "largest_component", "of": name},),
        }
        return (*(({"name": "fill_holes", "of": name},) if self.fill else ()), *removal[self.remove])


@dataclass(frozen=True)
class Found:
    """The best cleaning of a class, and its expected gain on new cases."""

    cleaning: Cleaning
    expected_gain: float
    """Leave-one-out gain: mean Dice of the class if each case is cleaned in the way that is best for the other cases,
    minus the mean Dice without cleaning."""


def measure_components(
    labels: np.ndarray, reference: np.ndarray, target: Target, *, known: np.ndarray | None, voxel_mm3: float
) -> Components:
    """Measure the components of a structure in label values [Z,Y,X]; only ``known`` voxels count (None: all)."""
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
    """Find the best way to clean a class.

    Each case gives the components of the class as predicted, and with holes filled.
    """
    ways = _ways(cases)
    table = np.array([[_dice(case[way.fill], way) for way in ways] for case in cases]).reshape(len(cases), len(ways))
    sums, counts = np.nansum(table, axis=0), np.count_nonzero(~np.isnan(table), axis=0)
    best = _first_largest(sums, counts)
    # Leave-one-out: select the way for each case without the Dice of this case.
    others = [_first_largest(sums - np.nan_to_num(row), counts - ~np.isnan(row)) for row in table]
    cleaned = np.array([row[place] for row, place in zip(table, others, strict=True)])
    return Found(ways[best], _mean(cleaned) - _mean(table[:, 0]))


def _ways(cases: Sequence[tuple[Components, Components]]) -> list[Cleaning]:
    """List the ways to try, the one with the smallest change first."""
    ways = [Cleaning(fill, "nothing") for fill in (False, True)]
    ways += [Cleaning(fill, "others") for fill in (False, True)]
    for fill in (False, True):
        found = np.unique(np.concatenate([case[fill].mm3 for case in cases] or [np.zeros(0)]))
        # Place thresholds between two volumes, so that rounding does not decide whether a component is kept.
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
