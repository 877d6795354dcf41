"""How good a fold is: Dice on patches while it trains, metrics on whole cases when it is done."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from autoseg.dataset import Dataset
from autoseg.evaluation.metrics import ClassMetrics, evaluate_case
from autoseg.evaluation.summary import Summary, summarize
from autoseg.images import read_labels, write_labels
from autoseg.inference.export import Scores, label_map
from autoseg.inference.sliding_window import Window, predict_probabilities, with_label_map
from autoseg.preprocessing.store import StoredCase
from autoseg.trainers.loader import Cases, PatchSource, to_device
from autoseg.workspace import FoldFolder

logger = logging.getLogger("autoseg.training")

MOST_PATCHES = 24
"""Validation patches: enough for a curve, few enough to cost little."""


def patch_dice(
    network: nn.Module, source: PatchSource, *, patches: int, classes: Sequence[str], device: torch.device
) -> dict[str, float | None]:
    """Compute Dice of each class over the first ``patches`` samples of a stream, voxels of all of them pooled.

    A class that neither prediction nor reference holds has no Dice (None).
    """
    overlap = np.zeros(len(classes) + 1)
    total = np.zeros(len(classes) + 1)
    with torch.inference_mode():
        for first in range(0, patches, source.batch_size):
            samples = [source.sample(index) for index in range(first, min(first + source.batch_size, patches))]
            batch = to_device(samples, source.augmentation, device)
            predicted = network(batch.images)[0].argmax(dim=1)
            agreed = torch.where(predicted == batch.labels, predicted, 0)
            overlap += _counts(agreed, len(overlap))
            total += _counts(predicted, len(overlap)) + _counts(batch.labels, len(overlap))
    return {
        name: float(2 * overlap[index] / total[index]) if total[index] else None
        for index, name in enumerate(classes, start=1)
    }


def _counts(labels: torch.Tensor, length: int) -> np.ndarray:
    return torch.bincount(labels.flatten(), minlength=length).cpu().numpy()


@dataclass(frozen=True)
class FoldValidation:
    """What is needed to predict and measure the validation cases of a fold."""

    dataset: Dataset
    cases: Cases
    folder: FoldFolder
    window: Window
    device: torch.device


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
            labels = predict_stored(network, validation.cases[index], validation)
            write_labels(path, labels, validation.cases[index].record.steps.geometry, like=case.images[0])
        if case.label is not None:
            spacing = validation.cases[index].record.steps.geometry.spacing
            foreground = {label: value for label, value in validation.dataset.labels.items() if value != 0}
            results[name] = evaluate_case(labels, read_labels(case.label)[0], spacing=spacing, labels=foreground)
        if progress:
            progress(name)
    return summarize(results)


def predict_stored(network: nn.Module, case: StoredCase, validation: FoldValidation) -> np.ndarray:
    """Predict a preprocessed case; returns label values on the grid of its file."""
    image = np.asarray(case.image[:], dtype=np.float32)
    image = with_label_map(image, None if case.previous is None else case.previous[:])
    probabilities = predict_probabilities([network], image, validation.window, validation.device)
    return label_map([Scores(probabilities, case.record.steps)], validation.dataset)
