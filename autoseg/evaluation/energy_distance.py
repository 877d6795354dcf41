"""Distance between a set of predictions and a set of references of one image (several raters)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from autoseg.errors import ImageError
from autoseg.evaluation.counting import LabelMap, count_voxels, disjoint_groups, numbered_pair
from autoseg.evaluation.metrics import check_pair


def generalized_energy_distance(
    predictions: Sequence[LabelMap], references: Sequence[LabelMap], classes: Mapping[str, Sequence[int]]
) -> dict[str, float]:
    """Return the squared generalized energy distance for each of ``classes`` (name to label values, may overlap).

    D² = 2 E[d(S, Y)] − E[d(S, S′)] − E[d(Y, Y′)], where S, S′ are predictions [Z,Y,X], Y, Y′ are references [Z,Y,X] and
    d = 1 − IoU (Kohl et al. 2018, equation 5; Székely and Rizzo 2013). Each expectation is the mean over all pairs,
    including pairs of a map with itself. D² is 0 if both sets contain the same maps with the same frequency. Two maps
    without a class have distance 0 for this class. Raises :class:`ImageError` if a set is empty or sizes differ.
    """
    for name, maps in (("predictions", predictions), ("references", references)):
        if not maps:
            raise ImageError(f"{name}: found no label map, expected at least one")
    names = list(classes)
    between = _mean_distance(predictions, references, classes)
    within = _mean_distance(predictions, predictions, classes) + _mean_distance(references, references, classes)
    return dict(zip(names, (2 * between - within).tolist(), strict=True))


def _mean_distance(
    some: Sequence[LabelMap], others: Sequence[LabelMap], classes: Mapping[str, Sequence[int]]
) -> np.ndarray:
    """Return the mean of 1 − IoU over all pairs, for each class."""
    return np.mean([_distances(one, other, classes) for one, other in itertools.product(some, others)], axis=0)


def _distances(one: LabelMap, other: LabelMap, classes: Mapping[str, Sequence[int]]) -> np.ndarray:
    check_pair(one, other)
    found: dict[str, float] = {}
    for group in disjoint_groups(classes):
        counts = count_voxels(*numbered_pair(one, other, group, ignored=None), classes=len(group)).sum(axis=0)
        for name, (both, first, second) in zip(group, counts.T[1:], strict=True):
            either = first + second - both
            found[name] = float(1 - both / either) if either else 0.0
    return np.array([found[name] for name in classes])
