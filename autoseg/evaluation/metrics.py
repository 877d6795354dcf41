"""How well a predicted label map agrees with a reference, class by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from autoseg.errors import ImageError
from autoseg.evaluation.surface import surface_distances, surfaces

LabelMap = npt.NDArray[np.integer]
Counts = npt.NDArray[np.int64]

NAN = float("nan")
MM3_PER_ML = 1000.0


@dataclass(frozen=True)
class ClassMetrics:
    """The agreement on one class in one case; what is not defined is NaN.

    Dice and IoU are NaN where neither map has the class, precision where it is not predicted, recall and the relative
    volume difference where the reference lacks it, surface distances where either does. Distances are in mm, volume
    differences are predicted minus reference, in mm³ and as a share of the reference.
    """

    dice: float
    iou: float
    precision: float
    recall: float
    hd95: float
    assd: float
    volume_difference: float
    relative_volume_difference: float
    true_positives: int
    false_positives: int
    false_negatives: int
    reference_ml: float
    predicted_ml: float

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


def evaluate_case(
    prediction: LabelMap,
    reference: LabelMap,
    *,
    spacing: Sequence[float],
    classes: Mapping[str, Sequence[int]],
    ignore: Sequence[int] = (),
) -> dict[str, ClassMetrics]:
    """Measure a predicted label map [Z,Y,X] against its reference, for each of ``classes`` (name to label values).

    ``spacing`` (z,y,x) in mm. Name the foreground classes only, if a summary's mean is to be one over the foreground;
    classes may overlap. Voxels where the reference holds a value of ``ignore`` count nowhere: both maps are background
    there, so that a structure that reaches them is cut off in both and its cut faces lie in the same place. Raises
    :class:`ImageError` if the maps differ in shape or are not of an integer type.
    """
    _check(prediction, reference)
    ignored = np.isin(reference, ignore) if ignore else None
    measured: dict[str, ClassMetrics] = {}
    for group in _disjoint(classes):
        measured |= _measure(prediction, reference, spacing, group, ignored)
    return {name: measured[name] for name in classes}


def _disjoint(classes: Mapping[str, Sequence[int]]) -> list[dict[str, Sequence[int]]]:
    """Put classes into groups in which no label value is in two of them: each group is measured in one pass."""
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


def _measure(
    prediction: LabelMap,
    reference: LabelMap,
    spacing: Sequence[float],
    classes: Mapping[str, Sequence[int]],
    ignored: npt.NDArray[np.bool_] | None,
) -> dict[str, ClassMetrics]:
    """Measure classes that have no label value in common."""
    numbers = {value: number for number, values in enumerate(classes.values(), start=1) for value in values}
    predicted, expected = _numbered(prediction, numbers), _numbered(reference, numbers)
    if ignored is not None:
        predicted[ignored] = 0
        expected[ignored] = 0
    counts = _count_voxels(predicted, expected, classes=len(classes))
    distances = _surface_metrics(predicted, expected, spacing)
    voxel_mm3 = float(np.prod(spacing))
    return {
        name: _class_metrics(counts[:, number], voxel_mm3=voxel_mm3, distances=distances.get(number, (NAN, NAN)))
        for number, name in enumerate(classes, start=1)
    }


def _check(prediction: LabelMap, reference: LabelMap) -> None:
    if prediction.shape != reference.shape or prediction.ndim != 3:
        raise ImageError(
            f"prediction: found shape {prediction.shape}, expected that of the reference, {reference.shape}, "
            "and three axes; resample one to the other's geometry"
        )
    for name, array in (("prediction", prediction), ("reference", reference)):
        if array.dtype.kind not in "iub":
            raise ImageError(f"{name}: found values of type {array.dtype}, expected integer labels; round them first")


def _numbered(array: LabelMap, numbers: Mapping[int, int]) -> npt.NDArray[np.uint16]:
    """Exchange label values by the consecutive ``numbers`` from 1 on, all others by 0."""
    low, high = min(numbers, default=0) - 1, max(numbers, default=0) + 1
    table = np.zeros(high - low + 1, dtype=np.uint16)
    for value, number in numbers.items():
        table[value - low] = number
    numbered = np.empty(array.shape, dtype=np.uint16)
    for plane, target in zip(array, numbered, strict=True):
        np.take(table, np.clip(plane.astype(np.int64), low, high) - low, out=target)
    return numbered


def _count_voxels(predicted: LabelMap, expected: LabelMap, *, classes: int) -> Counts:
    """Count, for all classes at once, the voxels [3, classes + 1] in both maps, in the prediction, in the reference."""
    counts = np.zeros((3, classes + 1), dtype=np.int64)
    for one, other in zip(predicted, expected, strict=True):
        for row, voxels in enumerate((one[one == other], one.ravel(), other.ravel())):
            counts[row] += np.bincount(voxels, minlength=classes + 1)
    return counts


def _class_metrics(counts: Counts, *, voxel_mm3: float, distances: tuple[float, float]) -> ClassMetrics:
    both, predicted, expected = (int(count) for count in counts)
    difference = (predicted - expected) * voxel_mm3
    return ClassMetrics(
        dice=_ratio(2 * both, predicted + expected),
        iou=_ratio(both, predicted + expected - both),
        precision=_ratio(both, predicted),
        recall=_ratio(both, expected),
        hd95=distances[0],
        assd=distances[1],
        volume_difference=difference,
        relative_volume_difference=_ratio(predicted - expected, expected),
        true_positives=both,
        false_positives=predicted - both,
        false_negatives=expected - both,
        reference_ml=expected * voxel_mm3 / MM3_PER_ML,
        predicted_ml=predicted * voxel_mm3 / MM3_PER_ML,
    )


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else NAN


def _surface_metrics(
    predicted: LabelMap, expected: LabelMap, spacing: Sequence[float]
) -> dict[int, tuple[float, float]]:
    """HD95 and ASSD of each class that both maps have."""
    shape = predicted.shape
    # An axis of one voxel has no faces across it; a single voxel is all surface.
    axes = [axis for axis in range(3) if shape[axis] > 1] or [0, 1, 2]
    first, second = surfaces(predicted, axes=axes), surfaces(expected, axes=axes)
    metrics = {}
    for number in first.keys() & second.keys():
        distances = surface_distances(first[number], second[number], shape=shape, spacing=spacing)
        metrics[number] = (distances.hausdorff(95), distances.average())
    return metrics
