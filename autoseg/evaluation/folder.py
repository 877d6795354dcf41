"""Evaluation of a folder of predictions with a folder of references."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from autoseg.data.dataset import Dataset
from autoseg.data.layouts import read_label_meaning
from autoseg.errors import DatasetError, ImageError
from autoseg.evaluation.metrics import ClassMetrics, evaluate_case
from autoseg.evaluation.settings import MetricSettings
from autoseg.evaluation.slices import CaseSlices, measure_slices, write_slices_csv
from autoseg.evaluation.summary import Statistics, Summary, statistics_of, summarize
from autoseg.images.endings import image_endings, split_ending
from autoseg.images.volumes import read_labels
from autoseg.system.execution import IN_THIS_PROCESS, CaseExecutor, map_cases

logger = logging.getLogger("autoseg.evaluation")


@dataclass(frozen=True)
class _Pair:
    name: str
    prediction: Path
    reference: Path


_DEFAULT = MetricSettings()
Progress = Callable[[str, int], Callable[[str], None]]


def evaluate_folder(
    predictions: Path,
    reference: Path,
    *,
    dataset: Path | None = None,
    ignore: Sequence[int] = (),
    settings: MetricSettings = _DEFAULT,
    slices_file: Path | None = None,
    executor: CaseExecutor = IN_THIS_PROCESS,
    progress: Progress | None = None,
) -> Summary:
    """Compare every prediction with the reference of the same name.

    The classes or regions are those of ``dataset`` (a dataset.json); without it, each value above 0 in the references
    is a class. Ignored values of the dataset, and the reference values in ``ignore``, are excluded from all metrics. So
    are classes that are not annotated in a case. With ``slices_file``, the Dice of each slice along the first axis
    [Z,Y,X] is written to this file, and its statistics are part of the summary.

    A reference without a prediction gives a warning. Raises :class:`DatasetError` if a prediction has no reference, if
    a folder contains no label maps, or if there is no class to measure; :class:`ImageError` if the geometries differ.
    """
    pairs = _pairs(predictions, reference)
    names = [pair.name for pair in pairs]
    begin = progress or (lambda description, count: lambda name: None)
    meaning = _meaning(pairs, dataset, ignore, executor=executor, begin=begin)
    if not meaning.classes:
        raise DatasetError(
            f"{reference}: found only background in all references, expected at least one class; check the folder"
        )
    results = map_cases(
        partial(_measure, dataset=meaning, settings=settings, per_slice=slices_file is not None),
        pairs,
        names=names,
        executor=executor,
        progress=begin("evaluating", len(pairs)),
    )
    measured = dict(zip(names, results, strict=True))
    summary = summarize({name: metrics for name, (metrics, _) in measured.items()}, settings=settings)
    if slices_file is None:
        return summary
    slices = {name: found for name, (_, found) in measured.items()}
    write_slices_csv(slices_file, slices)
    return replace(summary, slices=_slice_statistics(slices))


def _meaning(
    pairs: Sequence[_Pair], dataset: Path | None, ignore: Sequence[int], *, executor: CaseExecutor, begin: Progress
) -> Dataset:
    """Return the classes and ignored values: those of a dataset.json, or one class for each value in the references."""
    if dataset is None:
        names = [pair.name for pair in pairs]
        found = map_cases(_values, pairs, executor, names=names, progress=begin("finding classes", len(pairs)))
        labels = {f"label_{value}": value for value in sorted(set().union(*found) - set(ignore))}
        return Dataset(name="", channels=(), labels=labels, file_ending="", cases=(), ignore=tuple(ignore))
    meaning = read_label_meaning(dataset)
    for name, values in meaning.classes.items():
        if set(values) & set(ignore):
            raise DatasetError(
                f"{dataset}: class '{name}' has the value {min(set(values) & set(ignore))}, which is ignored; "
                "change --ignore"
            )
    return replace(meaning, ignore=tuple(sorted({*meaning.ignore, *ignore})))


def _slice_statistics(slices: dict[str, CaseSlices]) -> dict[str, Statistics]:
    names = dict.fromkeys(name for classes in slices.values() for name in classes)
    return {
        name: statistics_of([row.dice for classes in slices.values() for row in classes.get(name, ())])
        for name in names
    }


def _pairs(predictions: Path, reference: Path) -> list[_Pair]:
    predicted, expected = _label_maps(predictions), _label_maps(reference)
    alone = sorted(predicted.keys() - expected.keys())
    if alone:
        raise DatasetError(
            f"{predicted[alone[0]]}: found no reference with this name in {reference}; remove the prediction or add "
            "the reference"
        )
    missing = sorted(expected.keys() - predicted.keys())
    if missing:
        logger.warning("%d references have no prediction, such as %s", len(missing), missing[0])
    if not predicted:
        raise DatasetError(f"{predictions}: found no label maps, expected files like CASE.nii.gz")
    return [_Pair(name, path, expected[name]) for name, path in sorted(predicted.items())]


def _label_maps(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder, expected a folder of label maps; check the path")
    found: dict[str, Path] = {}
    paths = sorted(folder.iterdir())
    endings = image_endings(paths)
    for path in paths:
        split = split_ending(path, endings)
        if split is None or path.name.startswith("."):
            continue
        if split[0] in found:
            raise DatasetError(
                f"{path}: found a second file of case '{split[0]}', the first is {found[split[0]].name}; remove one"
            )
        found[split[0]] = path
    return found


def _values(pair: _Pair) -> set[int]:
    return {int(value) for value in np.unique(read_labels(pair.reference)[0])} - {0}


def _measure(
    pair: _Pair, dataset: Dataset, settings: MetricSettings, per_slice: bool
) -> tuple[dict[str, ClassMetrics], CaseSlices]:
    prediction, geometry = read_labels(pair.prediction)
    reference, other = read_labels(pair.reference)
    differences = other.differences(geometry)
    if differences:
        raise ImageError(
            f"{pair.prediction}: does not lie on the grid of {pair.reference}: {'; '.join(differences)}; resample one"
        )
    classes, ignore = dataset.annotated_classes(pair.name), dataset.ignore
    metrics = evaluate_case(
        prediction, reference, spacing=geometry.spacing, classes=classes, ignore=ignore, settings=settings
    )
    if not per_slice:
        return metrics, {}
    return metrics, measure_slices(prediction, reference, classes=classes, ignore=ignore, empty=settings.empty)
