"""Metrics of a predicted label map compared with its reference, for each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from scipy.ndimage import find_objects

from autoseg.errors import ImageError
from autoseg.evaluation.counting import (
    Counts,
    LabelMap,
    Numbered,
    count_voxels,
    disjoint_groups,
    foreground_box,
    numbered_pair,
)
from autoseg.evaluation.overlap import NAN, overlap_scores, ratio
from autoseg.evaluation.settings import EMPTY_SCORES, MetricSettings
from autoseg.evaluation.surface import surface_distances, surfaces
from autoseg.evaluation.surface_elements import normalized_surface_distance

MM3_PER_ML = 1000.0
_DEFAULT = MetricSettings()


@dataclass(frozen=True)
class ClassMetrics:
    """The metrics of one class in one case; undefined values are NaN.

    :class:`autoseg.evaluation.overlap.OverlapScores` describes when overlap scores are defined. Distances are in mm and
    NaN if the class is absent in one of the maps. The normalized surface distance ``nsd`` is NaN if the class is absent
    in both maps and 0 if it is absent in one. Volume differences are prediction minus reference: in mm³, and relative
    to the reference volume (NaN if the class is absent in the reference). These are the values with the rule ``nan``;
    the other rules for empty references replace the scores and distances of a class absent in the reference.
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
    # Files of earlier versions lack the following fields.
    hd: float = NAN
    nsd: float = NAN
    specificity: float = NAN
    accuracy: float = NAN
    mcc: float = NAN
    true_negatives: int | float = NAN

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True)
class _SurfaceScores:
    """HD95, HD and ASSD in mm, and the normalized surface distance."""

    hd95: float = NAN
    hd: float = NAN
    assd: float = NAN
    nsd: float = NAN


def evaluate_case(
    prediction: LabelMap,
    reference: LabelMap,
    *,
    spacing: Sequence[float],
    classes: Mapping[str, Sequence[int]],
    ignore: Sequence[int] = (),
    settings: MetricSettings = _DEFAULT,
) -> dict[str, ClassMetrics]:
    """Measure a predicted label map [Z,Y,X] against its reference, for each of ``classes`` (name to label values).

    ``spacing`` (z,y,x) is in mm. Classes may overlap. Pass only foreground classes if the mean of a summary must
    exclude the background. Voxels whose reference value is in ``ignore`` are excluded: both maps are background there,
    so that a structure is cut off at the same place in both maps. Raises :class:`ImageError` if the maps differ in
    shape or are not of an integer type.
    """
    check_pair(prediction, reference)
    ignored = np.isin(reference, ignore) if ignore else None
    measured: dict[str, ClassMetrics] = {}
    for group in disjoint_groups(classes):
        measured |= _measure(prediction, reference, group, spacing=spacing, ignored=ignored, settings=settings)
    return {name: measured[name] for name in classes}


def check_pair(prediction: LabelMap, reference: LabelMap) -> None:
    """Raise :class:`ImageError` unless both label maps have the same shape [Z,Y,X] and an integer type."""
    if prediction.shape != reference.shape or prediction.ndim != 3:
        raise ImageError(
            f"prediction: found shape {prediction.shape}, expected that of the reference, {reference.shape}, "
            "and three axes; resample one to the other's geometry"
        )
    for name, array in (("prediction", prediction), ("reference", reference)):
        if array.dtype.kind not in "iub":
            raise ImageError(f"{name}: found values of type {array.dtype}, expected integer labels; round them first")


def _measure(
    prediction: LabelMap,
    reference: LabelMap,
    classes: Mapping[str, Sequence[int]],
    *,
    spacing: Sequence[float],
    ignored: npt.NDArray[np.bool_] | None,
    settings: MetricSettings,
) -> dict[str, ClassMetrics]:
    """Measure classes that have no label value in common."""
    predicted, expected = numbered_pair(prediction, reference, classes, ignored=ignored)
    known = predicted.size - (0 if ignored is None else int(ignored.sum()))
    # Voxels have no faces across an axis of length 1. A map of a single voxel keeps all axes: the voxel is surface.
    axes = [axis for axis in range(3) if predicted.shape[axis] > 1] or [0, 1, 2]
    box = foreground_box(predicted, expected)
    predicted, expected = np.ascontiguousarray(predicted[box]), np.ascontiguousarray(expected[box])
    counts = count_voxels(predicted, expected, classes=len(classes)).sum(axis=0)
    surface = _surface_scores(predicted, expected, spacing=spacing, axes=axes, tolerance=settings.tolerance)
    voxel_mm3 = float(np.prod(spacing))
    measured = {}
    for number, name in enumerate(classes, start=1):
        scores = surface.get(number, _one_sided(counts[:, number]))
        metrics = _class_metrics(counts[:, number], known=known, voxel_mm3=voxel_mm3, surface=scores)
        measured[name] = _with_empty_rule(metrics, settings.empty)
    return measured


def _class_metrics(counts: Counts, *, known: int, voxel_mm3: float, surface: _SurfaceScores) -> ClassMetrics:
    both, predicted, expected = (int(count) for count in counts)
    neither = known - predicted - expected + both
    return ClassMetrics(
        **asdict(overlap_scores(both, predicted - both, expected - both, neither)),
        **asdict(surface),
        volume_difference=(predicted - expected) * voxel_mm3,
        relative_volume_difference=ratio(predicted - expected, expected),
        true_positives=both,
        false_positives=predicted - both,
        false_negatives=expected - both,
        true_negatives=neither,
        reference_ml=expected * voxel_mm3 / MM3_PER_ML,
        predicted_ml=predicted * voxel_mm3 / MM3_PER_ML,
    )


def _with_empty_rule(metrics: ClassMetrics, rule: str) -> ClassMetrics:
    """Set the scores that ``rule`` gives for an empty reference; distances become 0 mm if the score is 1, else NaN."""
    if metrics.true_positives + metrics.false_negatives:
        return metrics
    score = EMPTY_SCORES[rule][1 if metrics.false_positives else 0]
    if score is None:
        return metrics
    distance = 0.0 if score == 1 else NAN
    scored: dict[str, Any] = dict.fromkeys(("dice", "iou", "precision", "recall", "nsd", "mcc"), score)
    return replace(metrics, **scored, hd=distance, hd95=distance, assd=distance)


def _one_sided(counts: Counts) -> _SurfaceScores:
    """Return the surface scores of a class that is absent in one or both maps: NSD is 0 or NaN, distances are NaN."""
    return _SurfaceScores(nsd=0.0 if counts.any() else NAN)


def _surface_scores(
    predicted: Numbered, expected: Numbered, *, spacing: Sequence[float], axes: Sequence[int], tolerance: float
) -> dict[int, _SurfaceScores]:
    """Measure the surfaces of each class that exists in both maps."""
    first, second = surfaces(predicted, axes=axes), surfaces(expected, axes=axes)
    boxes, others = find_objects(predicted), find_objects(expected)
    scores = {}
    for number in first.keys() & second.keys():
        distances = surface_distances(first[number], second[number], shape=predicted.shape, spacing=spacing)
        box = _hull(boxes[number - 1], others[number - 1])
        masks = (predicted[box] == number, expected[box] == number)
        nsd = normalized_surface_distance(*masks, spacing=spacing, tolerance=tolerance, axes=axes)
        scores[number] = _SurfaceScores(distances.hausdorff(95), distances.hausdorff(100), distances.average(), nsd)
    return scores


def _hull(one: tuple[slice, ...], other: tuple[slice, ...]) -> tuple[slice, ...]:
    """Return the smallest box that contains both boxes."""
    return tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
