"""Looking at one case once: its faults, and what the fingerprint needs to know of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from scipy.ndimage import find_objects

from autoseg.dataset import Case, Dataset, source_state
from autoseg.errors import ImageError
from autoseg.images import Geometry, Volume, non_finite_count, read_case, read_labels
from autoseg.missing import channel_count_fault, missing_channels
from autoseg.orientation import tilt_of
from autoseg.preprocessing.crop import Box, nonzero_box
from autoseg.preprocessing.extra.declared import case_faults
from autoseg.preprocessing.normalization.nyul import MEASURED_VOXELS, landmark_percentiles
from autoseg.preprocessing.normalization.statistics import sampled

SMALL_LABEL_BYTES = 2
"""Label maps of up to 16 bits are counted by a table, which is faster than sorting."""

MOST_BOXES = 2**16
"""Label value above which no box of each value is looked for: there would be as many boxes."""

SAMPLING_SEED = 1234
"""Seed of the foreground voxels that intensity statistics are computed from."""


@dataclass(frozen=True)
class Finding:
    """A fault of a dataset, or a warning about it."""

    severity: Literal["error", "warning"]
    case: str
    message: str


@dataclass(frozen=True)
class ChannelPercentiles:
    """Intensities of a channel at Nyúl's percentages; none where there is no foreground."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    nonzero: tuple[float, ...]
    """Of the non-zero voxels."""
    above_mean: tuple[float, ...]
    """Of the voxels above the mean."""


@dataclass(frozen=True)
class CaseMeasure:
    """What one case adds to the fingerprint. Axes are those of the file, (z, y, x)."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    name: str
    source: str
    shape: tuple[int, int, int]
    cropped_shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    class_voxels: dict[str, int]
    percentiles: tuple[ChannelPercentiles, ...] = ()
    """One for each channel, of what cropping leaves."""
    orientation: str = ""
    """Where the axes run to in the patient, as :attr:`autoseg.geometry.Geometry.orientation`; empty: not measured."""
    tilt: float = 0.0
    """Degrees between the axes and those of the body nearest to them."""
    absent: tuple[int, ...] = ()
    """Numbers of the channels that the case lacks."""
    runs: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    """Mean voxels of a line through each class along z, y and x; none of classes that the case does not hold."""


@dataclass(frozen=True)
class Examination:
    """What was found in a case; ``measure`` is None where faults made it unreadable."""

    findings: tuple[Finding, ...] = ()
    measure: CaseMeasure | None = None
    intensities: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
    """Foreground voxels drawn at random, [C,N]; NaN in channels that the case lacks."""


def examine(case: Case, dataset: Dataset, *, index: int, samples: int) -> Examination:
    """Read a case and report every fault that can be told from its files.

    ``samples`` foreground voxels at most are drawn for the intensity statistics, by a stream that only ``index`` and a
    fixed seed decide.
    """
    findings: list[Finding] = []
    try:
        volume = read_case(case, len(dataset.channels))
    except ImageError as error:
        return Examination((Finding("error", case.name, str(error)),))
    findings += _image_findings(case, volume, dataset)
    findings += [Finding("error", case.name, fault) for fault in case_faults(case, volume.geometry, dataset)]
    labels = _read_labels(case, volume.geometry, dataset, findings)
    if labels is None or any(finding.severity == "error" for finding in findings):
        return Examination(tuple(findings))
    class_voxels = _class_voxels(labels, dataset)
    findings += _annotation_findings(case, class_voxels, dataset)
    rng = np.random.default_rng([SAMPLING_SEED, index])
    box = nonzero_box(volume.array)
    measure = CaseMeasure(
        name=case.name,
        source=source_state(case),
        shape=volume.geometry.size,
        cropped_shape=box.shape,
        spacing=volume.geometry.spacing,
        class_voxels=class_voxels,
        percentiles=_all_percentiles(volume, box),
        orientation=volume.geometry.orientation,
        tilt=round(tilt_of(volume.geometry.direction), 2),
        absent=volume.absent,
        runs=class_runs(labels, dataset),
    )
    foreground = np.where(np.isin(labels, dataset.ignore), 0, labels) if dataset.ignore else labels
    return Examination(tuple(findings), measure, _foreground_intensities(volume, foreground, samples, rng))


def _image_findings(case: Case, volume: Volume, dataset: Dataset) -> list[Finding]:
    image, found = case.images[0], []
    channels = volume.array.shape[0]
    missing = missing_channels(case, dataset.channels)
    if missing:
        found.append(Finding("error", case.name, f"{image}: {missing}"))
    elif channels + len(volume.absent) != len(dataset.channels):
        fault = channel_count_fault(channels + len(volume.absent), dataset.channels)
        found.append(Finding("error", case.name, f"{image}: {fault}"))
    for path, array in zip(case.images, volume.array if len(case.images) > 1 else [volume.array], strict=True):
        bad = non_finite_count(path, array)
        if bad:
            message = f"{path}: {bad} voxels are NaN or infinite; replace them, for instance by the background's value"
            found.append(Finding("error", case.name, message))
    for channel in range(channels):
        values = volume.array[channel]
        if values.size and values.min() == values.max():
            path = case.images[min(channel, len(case.images) - 1)]
            found.append(Finding("warning", case.name, f"{path}: channel {channel} is constant ({values.flat[0]:g})"))
    return found


def _read_labels(case: Case, geometry: Geometry, dataset: Dataset, findings: list[Finding]) -> np.ndarray | None:
    """Read the label map and add what is wrong with it to the findings."""
    if case.label is None or not case.label.exists():
        findings.append(Finding("error", case.name, f"{case.label}: no such label map, expected one for each image"))
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
        message = f"{path}: found label {shown}, expected one of {known}; add it to dataset.json or mend the label map"
        findings.append(Finding("error", name, message))
    if present and set(present) <= set(dataset.ignore):
        message = f"{path}: every voxel is ignored ({', '.join(map(str, present))}); annotate some or remove the case"
        findings.append(Finding("error", name, message))
    elif set(present) <= {0, *dataset.ignore}:
        findings.append(Finding("warning", name, f"{path}: the label map is empty, it holds background alone"))


def _meanings(dataset: Dataset) -> dict[int, str]:
    """Say of each label value that may occur what it stands for."""
    meanings = {value: name for name, value in dataset.labels.items()} or {0: "background"}
    for name, values in sorted(dataset.regions.items()):
        meanings |= {value: f"{meanings[value]}, {name}" if value in meanings else name for value in sorted(values)}
    return dict(sorted(meanings.items())) | dict.fromkeys(dataset.ignore, "ignored")


def _annotation_findings(case: Case, class_voxels: dict[str, int], dataset: Dataset) -> list[Finding]:
    """Warn of classes that a case holds although it is not said to be annotated for them."""
    annotated = dataset.annotated_classes(case.name)
    return [
        Finding(
            "warning",
            case.name,
            f"{case.label}: found {count} voxels of '{name}', which 'annotated' does not list for this case; they will "
            "teach nothing: list the class or clear the voxels",
        )
        for name, count in class_voxels.items()
        if count and name not in annotated
    ]


def _class_voxels(labels: np.ndarray, dataset: Dataset) -> dict[str, int]:
    counts = _voxels_by_value(labels)
    return {name: sum(counts.get(value, 0) for value in values) for name, values in dataset.classes.items()}


def class_runs(labels: np.ndarray, dataset: Dataset) -> dict[str, tuple[float, float, float]]:
    """Return for each class of a label map [Z,Y,X] the mean number of voxels of a straight line inside it, by axis.

    It tells thin things from thick ones whatever their shape: of a disc it is 0.79 of the diameter, of a ball 0.67.
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
    """Return the box that holds all boxes."""
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
    """Count the voxels of every value that a label map holds."""
    if labels.dtype.itemsize <= SMALL_LABEL_BYTES:
        counts = np.bincount(labels.reshape(-1))
        return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
    # Counting all values up to the largest would take gigabytes where one voxel is wild.
    values, found = np.unique(labels, return_counts=True)
    return dict(zip(values.tolist(), found.tolist(), strict=True))


def _all_percentiles(volume: Volume, box: Box) -> tuple[ChannelPercentiles, ...]:
    """Measure each channel inside the box, none of those that are absent."""
    found = [_percentiles(channel[box.slices]) for channel in volume.array]
    for number in volume.absent:
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
    return np.insert(found, _places(volume.absent), np.float32(np.nan), axis=0) if volume.absent else found


def _places(absent: tuple[int, ...]) -> list[int]:
    """Return where numpy is to insert rows so that they get the numbers ``absent``, which ascend."""
    return [number - before for before, number in enumerate(absent)]
