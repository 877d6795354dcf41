"""The fingerprint: what a dataset looks like, measured over all its cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from autoseg.dataset import Case, Dataset, source_state
from autoseg.errors import DatasetError
from autoseg.examination import CaseMeasure, Examination, Finding, examine
from autoseg.execution import map_cases
from autoseg.images import read_geometry
from autoseg.missing import absent_counts
from autoseg.orientation import common_orientation, turn_between
from autoseg.records import read_record, to_plain
from autoseg.sides import lateral
from autoseg.storage import write_json

MOST_SAMPLES = 10_000_000
"""Foreground voxels, over all cases, that intensity statistics are computed from: percentiles are exact enough and
they fit in memory."""


@dataclass(frozen=True)
class Intensities:
    """Foreground intensities of one channel."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    mean: float
    deviation: float
    median: float
    minimum: float
    maximum: float
    percentile_00_5: float
    percentile_99_5: float


@dataclass(frozen=True)
class Fingerprint:
    """Shapes, spacings, intensities and class sizes of a dataset."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    cases: tuple[CaseMeasure, ...]
    intensities: tuple[Intensities, ...]
    """One for each channel."""
    warnings: tuple[str, ...] = ()

    @cached_property
    def orientation(self) -> str | None:
        """What the cases are turned to, see :func:`autoseg.orientation.common_orientation`; None leaves them."""
        return common_orientation([case.orientation for case in self.cases], [case.tilt for case in self.cases])

    @property
    def orientations(self) -> tuple[str, ...]:
        """Orientation of every case, turned to the common one; empty where it was not measured."""
        return tuple(self.orientation or case.orientation for case in self.cases)

    @property
    def spacings(self) -> np.ndarray:
        """Spacing of every case, turned to the common orientation, [cases, 3]."""
        return self._turned([case.spacing for case in self.cases])

    @property
    def shapes(self) -> np.ndarray:
        """Shape of every case, turned to the common orientation, [cases, 3]."""
        return self._turned([case.shape for case in self.cases])

    @property
    def cropped_shapes(self) -> np.ndarray:
        """Shape of every case after cropping, turned to the common orientation, [cases, 3]."""
        return self._turned([case.cropped_shape for case in self.cases])

    def _turned(self, values: Sequence[Sequence[float]]) -> np.ndarray:
        wanted = self.orientation
        if wanted is None:
            return np.array(values)
        turns = [turn_between(case.orientation, wanted) for case in self.cases]
        return np.array([[row[axis] for axis in turn.axes] for row, turn in zip(values, turns, strict=True)])

    @property
    def thickness(self) -> np.ndarray | None:
        """Millimetres of a line through the thinnest class along (z, y, x), turned to the common orientation.

        Lines are means over a class of a case, see :func:`autoseg.examination.class_runs`, of which the median over the
        cases counts; None where they were not measured.
        """
        names = {name for case in self.cases for name in case.runs}
        turned = [
            np.median(self._turned_rows([(case, case.runs[name]) for case in self.cases if name in case.runs]), axis=0)
            for name in sorted(names)
        ]
        return np.min(turned, axis=0) if turned else None

    def _turned_rows(self, rows: Sequence[tuple[CaseMeasure, Sequence[float]]]) -> np.ndarray:
        """Return voxels of some cases in millimetres, turned to the common orientation."""
        wanted, found = self.orientation, []
        for case, row in rows:
            axes = turn_between(case.orientation, wanted).axes if wanted else range(3)
            found.append([row[axis] * case.spacing[axis] for axis in axes])
        return np.array(found)

    @property
    def median_cropped_share(self) -> float:
        """Median over cases of the share of voxels that cropping left."""
        shapes = np.array([case.shape for case in self.cases], dtype=float)
        return float(np.median(self.cropped_shapes.prod(axis=1) / shapes.prod(axis=1)))


def examine_all(dataset: Dataset, *, workers: int, progress: Callable[[str], None] | None = None) -> list[Examination]:
    """Examine every case of a dataset; see :func:`autoseg.examination.examine`."""
    samples = max(1000, MOST_SAMPLES // max(len(dataset.cases), 1))
    # The workers are told of the dataset without its cases, which would travel with every call.
    described = replace(dataset, cases=(), groups={})
    return map_cases(
        partial(_examine_item, dataset=described, samples=samples),
        list(enumerate(dataset.cases)),
        names=[case.name for case in dataset.cases],
        workers=workers,
        memory_needed=_memory_to_examine,
        progress=progress,
    )


def _examine_item(item: tuple[int, Case], dataset: Dataset, samples: int) -> Examination:
    index, case = item
    return examine(case, dataset, index=index, samples=samples)


def _memory_to_examine(item: tuple[int, Case]) -> int:
    """Bytes that reading a case takes: the file's own type and float32, twice for the mask of a channel and copies."""
    from autoseg.errors import ImageError

    case = item[1]
    try:
        voxels = int(np.prod(read_geometry(case.images[0]).size))
    except ImageError:
        return 0
    return 12 * voxels * max(len(case.images), 1)


def dataset_findings(dataset: Dataset, examinations: Sequence[Examination]) -> list[Finding]:
    """Collect the faults of all cases, and those that only show in all of them together."""
    findings = [finding for examination in examinations for finding in examination.findings]
    measures = [examination.measure for examination in examinations if examination.measure]
    for name in dataset.classes:
        if measures and not any(measure.class_voxels[name] for measure in measures):
            everywhere = len(measures) == len(dataset.cases)
            if everywhere and len(dataset.classes) == 1:
                message = f"no case holds a voxel of '{name}', the only class; there is nothing to learn"
                findings.append(Finding("error", "all cases", message))
            else:
                findings.append(Finding("warning", "all cases", f"no case holds a voxel of class '{name}'"))
    return findings + _channel_findings(dataset, measures) + _side_findings(dataset, measures)


def _channel_findings(dataset: Dataset, measures: Sequence[CaseMeasure]) -> list[Finding]:
    """Find channels that every case lacks: nothing is known of their intensities."""
    counts = absent_counts(dataset, [measure.absent for measure in measures])
    return [
        Finding("error", "all cases", f"no case has channel '{name}'; add its files or take it out of dataset.json")
        for name, count in counts.items()
        if measures and count == len(measures)
    ]


def _side_findings(dataset: Dataset, measures: Sequence[CaseMeasure]) -> list[Finding]:
    """Warn where classes have sides, and images that are left as they are do not agree on where left and right are."""
    seen = {lateral(measure.orientation): measure for measure in measures}
    turned = common_orientation([measure.orientation for measure in measures], [measure.tilt for measure in measures])
    if turned or len(seen) < 2 or not (dataset.sides or dataset.one_sided):
        return []
    examples = ", ".join(f"{measure.orientation} in {measure.name}" for measure in seen.values())
    message = (
        f"classes have sides, but left and right of the images differ ({examples}, where axes z, y, x run to), and "
        "some are too oblique to be turned alike; reorient them, or training cannot mirror across the body"
    )
    return [Finding("warning", "all cases", message)]


def build_fingerprint(dataset: Dataset, examinations: Sequence[Examination]) -> Fingerprint:
    """Put the measures of all cases together; raise :class:`DatasetError` where any case has a fault."""
    findings = dataset_findings(dataset, examinations)
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        more = f" ({len(errors) - 1} more: run 'autoseg check')" if len(errors) > 1 else ""
        raise DatasetError(f"case {errors[0].case}: {errors[0].message}{more}")
    measures = [examination.measure for examination in examinations if examination.measure]
    pooled = np.concatenate([e.intensities for e in examinations], axis=1)
    if not pooled.shape[1]:
        raise DatasetError(f"dataset {dataset.name}: every label map is empty; there is nothing to learn")
    return Fingerprint(
        cases=tuple(measures),
        intensities=tuple(_statistics(channel[~np.isnan(channel)]) for channel in pooled),
        warnings=tuple(f"{f.case}: {f.message}" for f in findings),
    )


def _statistics(values: np.ndarray) -> Intensities:
    low, median, high = np.percentile(values, [0.5, 50, 99.5])
    return Intensities(
        mean=float(values.mean(dtype=np.float64)),
        deviation=float(values.std(dtype=np.float64)),
        median=float(median),
        minimum=float(values.min()),
        maximum=float(values.max()),
        percentile_00_5=float(low),
        percentile_99_5=float(high),
    )


def is_current(fingerprint: Fingerprint, dataset: Dataset) -> bool:
    """Tell whether a fingerprint was measured on the dataset's files as they are now."""
    measured = {case.name: case.source for case in fingerprint.cases}
    return measured == {case.name: source_state(case) for case in dataset.cases}


def write_fingerprint(path: Path, fingerprint: Fingerprint) -> None:
    """Write a fingerprint as JSON."""
    write_json(path, to_plain(fingerprint))


def read_fingerprint(path: Path) -> Fingerprint:
    """Read a fingerprint that :func:`write_fingerprint` wrote."""
    return read_record(Fingerprint, path, error=DatasetError)
