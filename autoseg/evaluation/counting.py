"""Voxel counts of all classes of two label maps, in one pass over the maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

LabelMap = npt.NDArray[np.integer]
Numbered = npt.NDArray[np.uint16]
Counts = npt.NDArray[np.int64]


def disjoint_groups(classes: Mapping[str, Sequence[int]]) -> list[dict[str, Sequence[int]]]:
    """Divide classes into groups without common label values, so that each group is measured in one pass."""
    groups: list[dict[str, Sequence[int]]] = []
    taken: list[set[int]] = []
    for name, values in classes.items():
        place = next((number for number, held in enumerate(taken) if held.isdisjoint(values)), len(groups))
        if place == len(groups):
            groups.append({})
            taken.append(set())
        groups[place][name] = values
        taken[place].update(values)
    return groups


def numbered_pair(
    prediction: LabelMap,
    reference: LabelMap,
    classes: Mapping[str, Sequence[int]],
    *,
    ignored: npt.NDArray[np.bool_] | None,
) -> tuple[Numbered, Numbered]:
    """Replace the label values of each class by the number of the class (from 1) in both maps.

    All other values become 0, and so do ``ignored`` voxels. The classes must have no label value in common.
    """
    numbers = {value: number for number, values in enumerate(classes.values(), start=1) for value in values}
    predicted, expected = _numbered(prediction, numbers), _numbered(reference, numbers)
    if ignored is not None:
        predicted[ignored] = 0
        expected[ignored] = 0
    return predicted, expected


def _numbered(array: LabelMap, numbers: Mapping[int, int]) -> Numbered:
    low, high = min(numbers, default=0) - 1, max(numbers, default=0) + 1
    table = np.zeros(high - low + 1, dtype=np.uint16)
    for value, number in numbers.items():
        table[value - low] = number
    numbered = np.zeros(array.shape, dtype=np.uint16)
    for plane, target in zip(array, numbered, strict=True):
        # Faster: most slices contain only 0, which is rarely a class value.
        if 0 in numbers or plane.any():
            np.take(table, plane.astype(np.int64) - low, out=target, mode="clip")
    return numbered


def foreground_box(predicted: Numbered, expected: Numbered) -> tuple[slice, ...]:
    """Return the smallest box that contains all nonzero voxels of both maps; the first voxel if there are none."""
    planes = [index for index, (one, other) in enumerate(zip(predicted, expected, strict=True)) if (one | other).any()]
    if not planes:
        return (slice(0, 1),) * 3
    touched = np.zeros(predicted.shape[1:], dtype=np.bool_)
    for index in planes:
        touched |= (predicted[index] | expected[index]) > 0
    rows, columns = np.flatnonzero(touched.any(axis=1)), np.flatnonzero(touched.any(axis=0))
    return tuple(slice(int(found[0]), int(found[-1]) + 1) for found in (planes, rows, columns))


def count_voxels(predicted: Numbered, expected: Numbered, *, classes: int) -> Counts:
    """Count the voxels of all classes in each slice: [slices, 3, classes + 1].

    Axis 1 contains the voxels in both maps, in the prediction, and in the reference.
    """
    counts = np.zeros((len(predicted), 3, classes + 1), dtype=np.int64)
    for row, one, other in zip(counts, predicted, expected, strict=True):
        for target, voxels in zip(row, (one[one == other], one.ravel(), other.ravel()), strict=True):
            target[:] = np.bincount(voxels, minlength=classes + 1)
    return counts
