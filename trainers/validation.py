"""How good a fold is: Dice on patches while it trains, metrics on whole cases when it is done."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from autoseg.dataset import IGNORED, Dataset
from autoseg.evaluation.metrics import ClassMetrics, evaluate_case
from autoseg.evaluation.summary import Summary, summarize
from autoseg.images import read_labels, write_labels
from autoseg.inference.export import label_map
from autoseg.inference.sliding_window import Window
from autoseg.inference.stored_scores import score_stored_case, scores_source, stored_bytes, write_scores
from autoseg.losses.dice_binary_cross_entropy import region_masks
from autoseg.losses.partial import hide_not_annotated
from autoseg.memory import format_bytes
from autoseg.trainers.loader import Batch, Cases, PatchSource
from autoseg.workspace import FoldFolder

logger = logging.getLogger("autoseg.training")

MOST_PATCHES = 24
"""Validation patches: enough for a curve, few enough to cost little."""


@dataclass(frozen=True)
class PatchScore:
    """How well a class is found on validation patches."""

    dice: float | None
    """None where neither prediction nor reference holds the class."""
    recall: float | None
    """Share of the reference's voxels; None where it has none."""


def patch_scores(
    network: nn.Module, source: PatchSource, *, patches: int, dataset: Dataset, device: torch.device
) -> dict[str, PatchScore]:
    """Measure each class over the first ``patches`` samples of a stream, voxels of all of them pooled.

    Ignored voxels, and classes in samples in which they were not annotated, count nowhere.
    """
    count = _count_regions if dataset.regions else _count_classes
    counts = np.zeros((3, len(dataset.classes)))
    with torch.inference_mode():
        for first in range(0, patches, source.batch_size):
            samples = [source.sample(index) for index in range(first, min(first + source.batch_size, patches))]
            batch = source.to_device(samples, device)
            counts += np.stack(count(network(batch.images)[0], batch, dataset))
    overlap, predicted, reference = counts
    return {
        name: PatchScore(
            _share(2 * overlap[index], predicted[index] + reference[index]), _share(overlap[index], reference[index])
        )
        for index, name in enumerate(dataset.classes)
    }


def _share(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


def _count_classes(logits: torch.Tensor, batch: Batch, dataset: Dataset) -> tuple[np.ndarray, ...]:
    """Count each class' voxels where prediction and reference agree, in the prediction, and in the reference."""
    predicted, labels = logits.argmax(dim=1), batch.labels
    if dataset.ignore:
        known = labels != IGNORED
        predicted, labels = predicted * known, labels * known
    if batch.annotated is not None:
        predicted, labels = (hide_not_annotated(indices, batch.annotated) for indices in (predicted, labels))
    agreed = torch.where(predicted == labels, predicted, 0)
    return tuple(
        torch.bincount(indices.flatten(), minlength=dataset.outputs)[1:].cpu().numpy()
        for indices in (agreed, predicted, labels)
    )


def _count_regions(logits: torch.Tensor, batch: Batch, dataset: Dataset) -> tuple[np.ndarray, ...]:
    """Count the same for regions, which may overlap."""
    expected = region_masks(batch.labels, tuple(dataset.class_indices.values())).flatten(2)
    # A half, the threshold of the export, is the probability of a logit of 0.
    predicted = (logits > 0).flatten(2)
    if dataset.ignore:
        predicted &= (batch.labels != IGNORED).flatten(1)[:, None]
    counts = [masks.sum(2) for masks in (predicted & expected, predicted, expected)]
    if batch.annotated is not None:
        counts = [voxels * batch.annotated for voxels in counts]
    return tuple(voxels.sum(0).cpu().numpy() for voxels in counts)


@dataclass(frozen=True)
class FoldValidation:
    """What is needed to predict and measure the validation cases of a fold."""

    dataset: Dataset
    cases: Cases
    folder: FoldFolder
    window: Window
    device: torch.device
    save_probabilities: bool = False
    """Keep what ensembles are tried out on; see :mod:`autoseg.inference.stored_scores`."""


def validate_cases(
    network: nn.Module, validation: FoldValidation, *, progress: Callable[[str], None] | None = None
) -> Summary:
    """Predict every validation case, write label maps and metrics to the fold's folder, and return the metrics.

    Cases whose label map is there already are measured again but not predicted again.
    """
    network.eval()
    results: dict[str, dict[str, ClassMetrics]] = {}
    for index, name in enumerate(validation.cases.names):
        case = validation.dataset.case(name)
        path = validation.folder.validation / f"{name}{validation.dataset.file_ending}"
        if path.exists():
            labels = read_labels(path)[0]
        else:
            scores = score_stored_case(network, validation.cases[index], validation.window, validation.device)
            labels = label_map([scores], validation.dataset)
            if validation.save_probabilities:
                source = scores_source(validation.folder, validation.cases[index].record)
                write_scores(validation.folder, name, scores, source=source)
            write_labels(path, labels, validation.cases[index].record.steps.geometry, like=case.images[0])
        if case.label is not None:
            spacing = validation.cases[index].record.steps.geometry.spacing
            results[name] = evaluate_case(
                labels,
                read_labels(case.label)[0],
                spacing=spacing,
                classes=validation.dataset.annotated_classes(name),
                ignore=validation.dataset.ignore,
            )
        if progress:
            progress(name)
    if validation.save_probabilities:
        logger.info("probabilities of the validation cases: %s on disk", format_bytes(stored_bytes(validation.folder)))
    return summarize(results)
