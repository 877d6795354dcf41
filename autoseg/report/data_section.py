"""Section of the report about the dataset: cases, channels, classes, spacings, sizes and intensities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from autoseg.data.counts import kinds_in_words, sites_in_words, tags_in_words
from autoseg.data.dataset import Dataset
from autoseg.data.kinds import kind_counts, labelled
from autoseg.data.optional_channels import missing_counts
from autoseg.data.splits import Fold
from autoseg.fingerprint.record import CaseMeasure, Fingerprint
from autoseg.report.tables import Table, counted, listed, short

MOST_CLASSES = 20
"""Maximum number of rows in a table of classes, so that the important ones are visible."""
_MOST_NAMES = 12
_MM3_PER_ML = 1000.0


def is_flat(fingerprint: Fingerprint | None) -> bool:
    """Return whether all images are single slices; these have areas in pixels instead of volumes."""
    return fingerprint is not None and bool(fingerprint.cases) and all(case.shape[0] == 1 for case in fingerprint.cases)


def data_facts(dataset: Dataset, folds: Sequence[Fold]) -> dict[str, str]:
    """Return the facts about a dataset, one line of text for each title."""
    mixed = len(kind_counts(dataset)) > 1
    facts = {
        "Cases": f"{len(dataset.cases)}" + (f": {kinds_in_words(dataset)}" if mixed else ""),
        "Channels": f"{len(dataset.channels)}: {listed(dataset.channels, _MOST_NAMES)}",
        "Regions" if dataset.regions else "Classes": f"{len(dataset.classes)}: "
        + listed(list(dataset.classes), _MOST_NAMES),
        "Files": dataset.file_ending,
    }
    if dataset.optional_channels:
        counts = missing_counts(dataset, [case.missing_channels for case in dataset.cases])
        facts["Missing channels"] = "; ".join(
            f"{name} in {counted(count, 'case')}, filled with {dataset.optional_channels[name]:g}"
            for name, count in counts.items()
        )
    if dataset.extra_channels:
        facts["Computed channels"] = ", ".join(f"{n} ({spec['name']})" for n, spec in dataset.extra_channels.items())
    if folds:
        held_out = _range([len(labelled(dataset, fold.val)) for fold in folds])
        facts["Cross-validation"] = f"{counted(len(folds), 'fold')} with {held_out} {'labelled ' if mixed else ''}cases"
    if dataset.groups:
        facts["Groups"] = f"{len(set(dataset.groups.values()))}, never split between folds"
    if dataset.sites:
        facts["Sites"] = sites_in_words(dataset)
    if dataset.tags:
        facts["Tags"] = tags_in_words(dataset)
    if dataset.annotated:
        facts["Partly annotated"] = f"{counted(len(dataset.annotated), 'case')} of {len(dataset.cases)}"
    if dataset.ignore:
        facts["Ignored label values"] = ", ".join(map(str, dataset.ignore))
    if dataset.sides:
        facts["Left and right"] = listed([" / ".join(pair) for pair in dataset.sides], _MOST_NAMES)
    return facts


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low}" if low == high else f"{low} to {high}"


def data_tables(dataset: Dataset, fingerprint: Fingerprint) -> list[Table]:
    """Return the tables of sizes and spacings, classes, and intensities."""
    return [_sizes(fingerprint), _classes(dataset, fingerprint), _intensities(dataset, fingerprint)]


def _sizes(fingerprint: Fingerprint) -> Table:
    shapes = fingerprint.shapes
    rows = [
        *_axis_rows("Spacing, mm", fingerprint.spacings),
        *_axis_rows("Size, voxels", shapes),
        *_axis_rows("Extent, mm", shapes * fingerprint.spacings),
    ]
    if not np.array_equal(shapes, fingerprint.cropped_shapes):
        rows += _axis_rows("Size after cropping, voxels", fingerprint.cropped_shapes)
    seen = Counter(case.orientation for case in fingerprint.cases if case.orientation)
    axes = ", ".join(f"{name} ({count})" for name, count in seen.most_common(_MOST_NAMES))
    note = f"Directions of the axes z, y, x, with the number of cases: {axes}." if axes else ""
    if len(seen) > 1 and fingerprint.orientation:
        note += f" All images are reoriented to {fingerprint.orientation}; this table shows the reoriented axes."
    return Table("Sizes and spacings", ("Axis", "Smallest", "Median", "Largest"), tuple(rows), note)


def _axis_rows(name: str, values: np.ndarray) -> list[tuple[str, ...]]:
    """Return one row with the statistics of values [cases,3] for each axis z, y, x."""
    low, middle, high = values.min(axis=0), np.median(values, axis=0), values.max(axis=0)
    return [
        (f"{name}: {axis}", *(short(float(of[place])) for of in (low, middle, high)))
        for place, axis in enumerate("zyx")
    ]


def _classes(dataset: Dataset, fingerprint: Fingerprint) -> Table:
    flat = is_flat(fingerprint)
    found = {name: _extents(name, dataset, fingerprint.cases, flat=flat) for name in dataset.classes}
    # Show the rarest classes first, because these fail most often.
    names = sorted(found, key=lambda name: len(found[name]))[:MOST_CLASSES] if len(found) > MOST_CLASSES else found
    rows = []
    for name in names:
        extents = found[name]
        middle = (min(extents), float(np.median(extents)), max(extents)) if extents else (np.nan,) * 3
        values = listed([str(value) for value in dataset.classes[name]], _MOST_NAMES)
        rows.append((name, values, str(len(extents)), *(short(extent) for extent in middle)))
    unit = "pixels" if flat else "ml"
    header = ("Class", "Values", "Cases", f"Smallest, {unit}", f"Median, {unit}", f"Largest, {unit}")
    note = f"The {MOST_CLASSES} rarest of {len(found)} classes." if len(rows) < len(found) else ""
    return Table("Classes, in the cases that contain them", header, tuple(rows), note)


def _extents(name: str, dataset: Dataset, cases: Sequence[CaseMeasure], *, flat: bool) -> list[float]:
    """Return the volume in ml (or the area in pixels) of a class in each case that contains it."""
    extents = []
    for case in cases:
        voxels = case.class_voxels.get(name, 0)
        if voxels and name in dataset.annotated_classes(case.name):
            extents.append(float(voxels if flat else voxels * np.prod(case.spacing) / _MM3_PER_ML))
    return extents


def _intensities(dataset: Dataset, fingerprint: Fingerprint) -> Table:
    rows = []
    for channel, found in zip(dataset.channels, fingerprint.intensities, strict=False):
        values = (found.mean, found.std, found.percentile_00_5, found.median, found.percentile_99_5)
        rows.append((channel, *map(short, values)))
    header = ("Channel", "Mean", "SD", "0.5 %", "Median", "99.5 %")
    return Table("Intensities of the foreground", header, tuple(rows))
