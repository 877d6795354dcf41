"""Quality of a fold: Dice on patches during training, metrics on whole cases after training."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from autoseg.data.dataset import IGNORED, Dataset
from autoseg.evaluation.metrics import ClassMetrics, evaluate_case
from autoseg.evaluation.summary import Summary, summarize
from autoseg.files.storage import read_json, write_json
from autoseg.images.volumes import read_labels, write_labels
from autoseg.inference.sliding_window import TilingSettings
from autoseg.inference.stored_scores import score_stored_case, scores_source, stored_bytes, write_scores
from autoseg.learning.batch import Batch
from autoseg.learning.cases import Cases
from autoseg.learning.patch_score import PatchScore
from autoseg.learning.patches import PatchSource
from autoseg.learning.validation.clock import ValidationClock
from autoseg.learning.validation.tiles import case_tiles, copies_of, tile_voxels
from autoseg.losses.dice_binary_cross_entropy import region_masks
from autoseg.losses.partial import hide_not_annotated
from autoseg.postprocessing.label_maps import label_map
from autoseg.postprocessing.scores import Scores
from autoseg.system.memory import format_bytes
from autoseg.workspace.paths import FoldFolder

logger = logging.getLogger("autoseg.training")

MOST_PATCHES = 24
"""Maximum number of validation patches: enough for a learning curve, with little cost."""


def patches_of(source: PatchSource) -> int:
    """Return the number of patches for a validation: one per case or a full batch, but at most 24."""
    return min(MOST_PATCHES, max(len(source.cases), source.batch_size))


def patch_scores(
    network: nn.Module, source: PatchSource, *, patches: int, dataset: Dataset, device: torch.device
) -> dict[str, PatchScore]:
    """Measure each class on the first ``patches`` samples of a source; the voxels of all samples are pooled.

    Ignored voxels do not count, nor do classes in samples in which they are not annotated.
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
    """Count the voxels of each class in the overlap of prediction and reference, the prediction, and the reference."""
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
    """Count the voxels as in :func:`_count_classes`, for regions that may overlap."""
    expected = region_masks(batch.labels, tuple(dataset.class_indices.values())).flatten(2)
    # A logit of 0 is a probability of 0.5, the threshold of the label map.
    predicted = (logits > 0).flatten(2)
    if dataset.ignore:
        predicted &= (batch.labels != IGNORED).flatten(1)[:, None]
    counts = [masks.sum(2) for masks in (predicted & expected, predicted, expected)]
    if batch.annotated is not None:
        counts = [voxels * batch.annotated for voxels in counts]
    return tuple(voxels.sum(0).cpu().numpy() for voxels in counts)


@dataclass(frozen=True)
class FoldValidation:
    """Inputs for predicting and measuring the validation cases of a fold."""

    dataset: Dataset
    cases: Cases
    folder: FoldFolder
    tiling: TilingSettings
    device: torch.device
    save_probabilities: bool = False
    """Save probabilities for choosing an ensemble; see :mod:`autoseg.inference.stored_scores`."""

    def label_map(self, case: str) -> Path:
        """Return the path of a case's label map."""
        return self.folder.validation / f"{case}{self.dataset.file_ending}"


def validate_cases(
    network: nn.Module,
    validation: FoldValidation,
    *,
    clock: ValidationClock | None = None,
    progress: Callable[[str], None] | None = None,
) -> Summary:
    """Predict validation cases, write label maps and metrics to the fold's folder, and return the metrics.

    Cases with an existing label map are measured again but not predicted again. With a ``clock``, cases that do not fit
    into its time are predicted without mirrored copies, or not at all; the summary lists them.
    """
    network.eval()
    clock, names = clock or ValidationClock(), validation.cases.names
    voxels = list(map(tile_voxels, case_tiles(validation.cases, validation.tiling, network)))
    copies = copies_of(validation.tiling, network)
    results: dict[str, dict[str, ClassMetrics]] = {}
    left_out: list[str] = []
    for index, name in enumerate(names):
        path = validation.label_map(name)
        if path.exists():
            results |= _measured(read_labels(path)[0], validation, index)
        elif not left_out and clock.allows(voxels[index:], copies):
            begun = time.monotonic()
            scores = _scores(network, validation, index, mirror=clock.mirror)
            predicted = time.monotonic()
            labels = _written(scores, validation, index, mirror=clock.mirror or copies == 1)
            results |= _measured(labels, validation, index)
            clock.add(voxels[index], copies, predicting=predicted - begun, beside=time.monotonic() - predicted)
        else:
            left_out.append(name)
            continue
        if progress:
            progress(name)
    if validation.save_probabilities:
        logger.info("probabilities of the validation cases: %s on disk", format_bytes(stored_bytes(validation.folder)))
    return replace(summarize(results), not_validated=tuple(left_out), not_mirrored=not_mirrored(validation.folder))


def _scores(network: nn.Module, validation: FoldValidation, index: int, *, mirror: bool) -> Scores:
    """Predict a case."""
    settings = validation.tiling if mirror else replace(validation.tiling, mirror_axes=())
    return score_stored_case(network, validation.cases[index], settings, validation.device)


def _written(scores: Scores, validation: FoldValidation, index: int, *, mirror: bool) -> np.ndarray:
    """Write a case's label map and, if requested, its probabilities; return the label map."""
    name, record = validation.cases.names[index], validation.cases[index].record
    labels = label_map([scores], validation.dataset)
    if validation.save_probabilities:
        source = scores_source(validation.folder, record)
        write_scores(validation.folder, name, scores, source=source, mirror=mirror)
    # The label map is written last: if it exists, the note about mirroring is complete.
    _note_mirroring(validation.folder, name, mirror=mirror)
    like = validation.dataset.case(name).images[0]
    write_labels(validation.label_map(name), labels, record.preprocessing.geometry, like=like)
    return labels


def _measured(labels: np.ndarray, validation: FoldValidation, index: int) -> dict[str, dict[str, ClassMetrics]]:
    """Return the metrics of a case by its name; empty if the case has no reference."""
    name = validation.cases.names[index]
    reference = validation.dataset.case(name).label
    if reference is None:
        return {}
    metrics = evaluate_case(
        labels,
        read_labels(reference)[0],
        spacing=validation.cases[index].record.preprocessing.geometry.spacing,
        classes=validation.dataset.annotated_classes(name),
        ignore=validation.dataset.ignore,
    )
    return {name: metrics}


def not_mirrored(folder: FoldFolder) -> tuple[str, ...]:
    """Return the validation cases that were predicted without the plan's mirrored copies."""
    path = _not_mirrored_file(folder)
    return tuple(read_json(path)) if path.exists() else ()


def _note_mirroring(folder: FoldFolder, name: str, *, mirror: bool) -> None:
    noted = set(not_mirrored(folder))
    if mirror == (name in noted):
        write_json(_not_mirrored_file(folder), sorted(noted ^ {name}))


def _not_mirrored_file(folder: FoldFolder) -> Path:
    return folder.validation / "not_mirrored.json"
