"""Measure a fingerprint: examine every case once, and combine the results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from autoseg.data.dataset import Case, Dataset, source_state
from autoseg.data.kinds import labelled, numbered
from autoseg.data.optional_channels import missing_counts
from autoseg.data.sides import lateral
from autoseg.errors import DatasetError
from autoseg.fingerprint.case import CaseCheck, Examination, Finding, examine
from autoseg.fingerprint.record import CaseMeasure, Fingerprint, Intensities
from autoseg.images.orientation import common_orientation
from autoseg.images.volumes import read_geometry
from autoseg.system.execution import CaseExecutor, map_cases

MOST_SAMPLES = 10_000_000
"""Foreground voxels of all cases together for intensity statistics: enough for exact percentiles, and they fit in
memory."""


def examine_all(
    dataset: Dataset,
    *,
    executor: CaseExecutor,
    check: CaseCheck | None = None,
    progress: Callable[[str], None] | None = None,
) -> list[Examination]:
    """Examine every case of a dataset; see :func:`autoseg.fingerprint.case.examine`.

    Cases without a label map do not change what is measured on the labelled cases.
    """
    samples = max(1000, MOST_SAMPLES // max(len(labelled(dataset)), 1))
    # Remove the cases from the dataset, because it is sent to the workers with every call.
    described = replace(dataset, cases=(), groups={}, sites={})
    return map_cases(
        partial(_examine_item, dataset=described, samples=samples, check=check),
        numbered(dataset.cases),
        names=[case.name for case in dataset.cases],
        executor=executor,
        memory_needed=_memory_to_examine,
        progress=progress,
    )


def _examine_item(item: tuple[int, Case], dataset: Dataset, samples: int, check: CaseCheck | None) -> Examination:
    index, case = item
    return examine(case, dataset, index=index, samples=samples, check=check)


def _memory_to_examine(item: tuple[int, Case]) -> int:
    """Estimate the bytes for reading a case: the file's type, float32, a channel mask and copies."""
    from autoseg.errors import ImageError

    case = item[1]
    try:
        voxels = int(np.prod(read_geometry(case.images[0]).size))
    except ImageError:
        return 0
    return 12 * voxels * max(len(case.images), 1)


def dataset_findings(dataset: Dataset, examinations: Sequence[Examination]) -> list[Finding]:
    """Collect the faults of all cases, and faults of the dataset as a whole."""
    findings = [finding for examination in examinations for finding in examination.findings]
    measures = [examination.measure for examination in examinations if examination.measure]
    for name in dataset.classes:
        if measures and not any(measure.class_voxels.get(name) for measure in measures):
            everywhere = len(measures) == len(dataset.cases)
            if everywhere and len(dataset.classes) == 1:
                message = f"no case contains a voxel of '{name}', the only class; there is nothing to learn"
                findings.append(Finding("error", "all cases", message))
            else:
                findings.append(Finding("warning", "all cases", f"no case contains a voxel of class '{name}'"))
    return findings + _channel_findings(dataset, measures) + _side_findings(dataset, measures)


def _channel_findings(dataset: Dataset, measures: Sequence[CaseMeasure]) -> list[Finding]:
    """Find channels that are missing in every labelled case: the intensities of the foreground are unknown."""
    with_labels = [measure for measure in measures if measure.kind == "labelled"]
    counts = missing_counts(dataset, [measure.missing_channels for measure in with_labels])
    which = "case" if len(with_labels) == len(measures) else "labelled case"
    return [
        Finding("error", "all cases", f"no {which} has channel '{name}'; add its files or remove it from dataset.json")
        for name, count in counts.items()
        if with_labels and count == len(with_labels)
    ]


def _side_findings(dataset: Dataset, measures: Sequence[CaseMeasure]) -> list[Finding]:
    """Warn if classes have sides, but images without a common orientation differ in their left-right axis."""
    seen = {lateral(measure.orientation): measure for measure in measures}
    turned = common_orientation([measure.orientation for measure in measures], [measure.tilt for measure in measures])
    if turned or len(seen) < 2 or not (dataset.sides or dataset.one_sided):
        return []
    examples = ", ".join(f"{measure.orientation} in {measure.name}" for measure in seen.values())
    message = (
        f"classes have sides, but the left-right axis of the images differs ({examples}, for axes z, y, x), and some "
        "images are too oblique for a common orientation; reorient them, or training cannot mirror left to right"
    )
    return [Finding("warning", "all cases", message)]


def build_fingerprint(dataset: Dataset, examinations: Sequence[Examination]) -> Fingerprint:
    """Combine the measures of all cases; raise :class:`DatasetError` if any case has an error."""
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
        std=float(values.std(dtype=np.float64)),
        median=float(median),
        minimum=float(values.min()),
        maximum=float(values.max()),
        percentile_00_5=float(low),
        percentile_99_5=float(high),
    )


def is_current(fingerprint: Fingerprint, dataset: Dataset) -> bool:
    """Return whether a fingerprint was measured on the current files of the dataset."""
    measured = {case.name: case.source for case in fingerprint.cases}
    return measured == {case.name: source_state(case) for case in dataset.cases}
