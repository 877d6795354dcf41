"""Examine one case: find its faults and measure its values for the fingerprint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.ndimage import find_objects

from autoseg.data.dataset import Case, Dataset, source_state
from autoseg.data.kinds import kind_of_case
from autoseg.data.listing import UNLABELLED_FOLDER
from autoseg.data.optional_channels import channel_count_fault, channel_gaps, read_case
from autoseg.errors import ImageError
from autoseg.fingerprint.landmarks import MEASURED_VOXELS, landmark_percentiles
from autoseg.fingerprint.record import CaseMeasure, ChannelPercentiles
from autoseg.images.crop import Box, nonzero_box
from autoseg.images.geometry import Geometry, Volume
from autoseg.images.orientation import tilt_of
from autoseg.images.statistics import sampled
from autoseg.images.volumes import non_finite_count, read_labels

SMALL_LABEL_BYTES = 2
"""Largest label size, in bytes, for counting values with a table, which is faster than sorting."""

MOST_BOXES = 2**16
"""Largest label value for computing bounding boxes: find_objects returns a box for each value up to the maximum."""

SAMPLING_SEED = 1234
"""Seed for drawing the foreground voxels of the intensity statistics."""


@dataclass(frozen=True)
class Finding:
    """An error or a warning about a dataset."""

    severity: Literal["error", "warning"]
    case: str
    message: str


@dataclass(frozen=True)
class Examination:
    """Result of the examination of a case; ``measure`` is None if the case has errors."""

    findings: tuple[Finding, ...] = ()
    measure: CaseMeasure | None = None
    intensities: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
    """Intensities of randomly drawn foreground voxels, [C,N]; NaN in missing channels."""


CaseCheck = Callable[[Case, Geometry, Dataset], Sequence[str]]
"""Function (case, geometry of its image, dataset) that returns further error messages about a case."""


def examine(case: Case, dataset: Dataset, *, index: int, samples: int, check: CaseCheck | None = None) -> Examination:
    """Read a case and report all faults of its files.

    Classes and foreground are measured if the case has a label map. At most ``samples`` foreground voxels are drawn for
    the intensity statistics; the random numbers depend only on ``index`` and a fixed seed. ``check`` finds faults of
    additional files of the case.
    """
    findings: list[Finding] = []
    try:
        volume = read_case(case, len(dataset.channels))
    except ImageError as error:
        return Examination((Finding("error", case.name, str(error)),))
    findings += _image_findings(case, volume, dataset)
    if check is not None:
        findings += [Finding("error", case.name, fault) for fault in check(case, volume.geometry, dataset)]
    labels = _read_labels(case, volume.geometry, dataset, findings)
    if any(finding.severity == "error" for finding in findings):
        return Examination(tuple(findings))
    measure = _measure(case, volume, dataset)
    if labels is None:
        return Examination(tuple(findings), measure, _no_intensities(dataset))
    measure = _with_labels(measure, labels, dataset)
    findings += _annotation_findings(case, measure.class_voxels, dataset)
    foreground = np.where(np.isin(labels, dataset.ignore), 0, labels) if dataset.ignore else labels
    rng = np.random.default_rng([SAMPLING_SEED, index])
    return Examination(tuple(findings), measure, _foreground_intensities(volume, foreground, samples, rng))


def _measure(case: Case, volume: Volume, dataset: Dataset) -> CaseMeasure:
    """Measure the image of a case."""
    box = nonzero_box(volume.array)
    return CaseMeasure(
        name=case.name,
        source=source_state(case),
        shape=volume.geometry.size,
        cropped_shape=box.shape,
        spacing=volume.geometry.spacing,
        class_voxels={},
        percentiles=_all_percentiles(volume, box),
        orientation=volume.geometry.orientation,
        tilt=round(tilt_of(volume.geometry.direction), 2),
        missing_channels=volume.missing_channels,
        kind=kind_of_case(dataset, case),
    )


def _with_labels(measure: CaseMeasure, labels: np.ndarray, dataset: Dataset) -> CaseMeasure:
    """Add the measures of the label map."""
    counts = _voxels_by_value(labels)
    return replace(
        measure,
        class_voxels={name: sum(counts.get(value, 0) for value in values) for name, values in dataset.classes.items()},
        runs=class_runs(labels, dataset),
        sparse=any(value in counts for value in dataset.ignore),
    )


def _no_intensities(dataset: Dataset) -> np.ndarray:
    return np.zeros((len(dataset.channels), 0), dtype=np.float32)


def _image_findings(case: Case, volume: Volume, dataset: Dataset) -> list[Finding]:
    image, found = case.images[0], []
    channels = volume.array.shape[0]
    missing = channel_gaps(case, dataset.channels)
    if missing:
        found.append(Finding("error", case.name, f"{image}: {missing}"))
    elif channels + len(volume.missing_channels) != len(dataset.channels):
        fault = channel_count_fault(channels + len(volume.missing_channels), dataset.channels)
        found.append(Finding("error", case.name, f"{image}: {fault}"))
    for path, array in zip(case.images, volume.array if len(case.images) > 1 else [volume.array], strict=True):
        bad = non_finite_count(path, array)
        if bad:
            message = f"{path}: {bad} voxels are NaN or infinite; replace them, for example by the background value"
            found.append(Finding("error", case.name, message))
    for channel in range(channels):
        values = volume.array[channel]
        if values.size and values.min() == values.max():
            path = case.images[min(channel, len(case.images) - 1)]
            found.append(Finding("warning", case.name, f"{path}: channel {channel} is constant ({values.flat[0]:g})"))
    return found


def _read_labels(case: Case, geometry: Geometry, dataset: Dataset, findings: list[Finding]) -> np.ndarray | None:
    """Read the label map and add its faults to the findings; None if the case has no usable one."""
    if case.label is None:
        return None
    if not case.label.exists():
        advice = f"expected one for each image; move the image to {UNLABELLED_FOLDER} if it has none"
        findings.append(Finding("error", case.name, f"{case.label}: no such label map, {advice}"))
        return None
    try:
        labels, label_geometry = read_labels(case.label)
    except ImageError as error:
        findings.append(Finding("error", case.name, str(error)))
        return None
    differences = geometry.differences(label_geometry)
    if differences:
        message = f"{case.label}: does not lie on the image's grid: {'; '.join(differences)}; resample the label map"
        findings.append(Finding("error", case.name, message))
        return None
    _check_values(case.name, case.label, labels, dataset, findings)
    return labels


def _check_values(name: str, path: Path, labels: np.ndarray, dataset: Dataset, findings: list[Finding]) -> None:
    present, meanings = sorted(_voxels_by_value(labels)), _meanings(dataset)
    unknown = [value for value in present if value not in meanings]
    if unknown:
        known = ", ".join(f"{value} ({meaning})" for value, meaning in meanings.items())
        shown = ", ".join(map(str, unknown[:5])) + (", …" if len(unknown) > 5 else "")
        message = f"{path}: found label {shown}, expected one of {known}; add it to dataset.json or fix the label map"
        findings.append(Finding("error", name, message))
    if present and set(present) <= set(dataset.ignore):
        message = f"{path}: every voxel is ignored ({', '.join(map(str, present))}); annotate some or remove the case"
        findings.append(Finding("error", name, message))
    elif set(present) <= {0, *dataset.ignore}:
        findings.append(Finding("warning", name, f"{path}: the label map is empty, it contains only background"))


def _meanings(dataset: Dataset) -> dict[int, str]:
    """Return the meaning of each allowed label value."""
    meanings = {value: name for name, value in dataset.labels.items()} or {0: "background"}
    for name, values in sorted(dataset.regions.items()):
        meanings |= {value: f"{meanings[value]}, {name}" if value in meanings else name for value in sorted(values)}
    return dict(sorted(meanings.items())) | dict.fromkeys(dataset.ignore, "ignored")


def _annotation_findings(case: Case, class_voxels: dict[str, int], dataset: Dataset) -> list[Finding]:
    """Warn about classes with voxels in a case whose field 'annotated' does not list them."""
    annotated = dataset.annotated_classes(case.name)
    return [
        Finding(
            "warning",
            case.name,
            f"{case.label}: found {count} voxels of '{name}', which 'annotated' does not list for this case; training "
            "ignores them: list the class or clear the voxels",
        )
        for name, count in class_voxels.items()
        if count and name not in annotated
    ]


def class_runs(labels: np.ndarray, dataset: Dataset) -> dict[str, tuple[float, float, float]]:
    """Return the mean run length of each class of a label map [Z,Y,X] along each axis, in voxels.

    A run is an uninterrupted line of voxels inside the class. The mean run length measures the thickness of a structure
    of any shape: 0.79 of the diameter for a disc, 0.67 for a ball.
    """
    if labels.dtype.itemsize > SMALL_LABEL_BYTES and labels.size and labels.max() > MOST_BOXES:
        return {}
    boxes = find_objects(labels)
    found = {}
    for name, values in dataset.classes.items():
        held = [boxes[value - 1] for value in values if 0 < value <= len(boxes) and boxes[value - 1] is not None]
        if held:
            found[name] = _mean_runs(np.isin(labels[_around(held)], list(values)))
    return found


def _around(boxes: list[tuple[slice, ...]]) -> tuple[slice, ...]:
    """Return the smallest box that contains all boxes."""
    return tuple(
        slice(min(axis.start for axis in axes), max(axis.stop for axis in axes)) for axes in zip(*boxes, strict=True)
    )


def _mean_runs(mask: np.ndarray) -> tuple[float, float, float]:
    voxels = np.count_nonzero(mask)
    z, y, x = (
        voxels / (np.count_nonzero(np.diff(np.pad(mask, [(int(a == axis),) * 2 for a in range(3)]), axis=axis)) / 2)
        for axis in range(3)
    )
    return z, y, x


def _voxels_by_value(labels: np.ndarray) -> dict[int, int]:
    """Count the voxels of each value in a label map."""
    if labels.dtype.itemsize <= SMALL_LABEL_BYTES:
        counts = np.bincount(labels.reshape(-1))
        return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
    # A table up to the largest value could need gigabytes because of a single wrong voxel.
    values, found = np.unique(labels, return_counts=True)
    return dict(zip(values.tolist(), found.tolist(), strict=True))


def _all_percentiles(volume: Volume, box: Box) -> tuple[ChannelPercentiles, ...]:
    """Measure each existing channel inside the box; missing channels get empty percentiles."""
    found = [_percentiles(channel[box.slices]) for channel in volume.array]
    for number in volume.missing_channels:
        found.insert(number, ChannelPercentiles((), ()))
    return tuple(found)


def _percentiles(channel: np.ndarray) -> ChannelPercentiles:
    values = sampled(channel, MEASURED_VOXELS)
    return ChannelPercentiles(
        nonzero=landmark_percentiles(values, masked=True), above_mean=landmark_percentiles(values, masked=False)
    )


def _foreground_intensities(volume: Volume, labels: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    where = np.flatnonzero(labels)
    if where.size > most:
        where = rng.choice(where, most, replace=True)
    found = volume.array.reshape(volume.array.shape[0], -1)[:, where]
    return (
        np.insert(found, _places(volume.missing_channels), np.float32(np.nan), axis=0)
        if volume.missing_channels
        else found
    )


def _places(missing_channels: tuple[int, ...]) -> list[int]:
    """Return the positions for ``np.insert`` so that new rows get the ascending numbers ``missing_channels``."""
    return [number - before for before, number in enumerate(missing_channels)]
