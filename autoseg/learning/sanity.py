"""Checks in the first steps that detect a failing training early."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence

import torch

from autoseg.errors import TrainingError
from autoseg.learning.batch import Batch
from autoseg.learning.trainer import Batches

logger = logging.getLogger("autoseg.training")

EARLY_STEPS = 100
"""Number of checked steps; in most datasets, every class occurs in so many batches."""


class SanityCheck:
    """Checks batches and losses of the first steps, and warns once about each problem."""

    def __init__(self, classes: Mapping[str, Sequence[int]]) -> None:
        """``classes``: label indices of each class."""
        self._classes = {name: set(indices) for name, indices in classes.items()}
        self._highest = max(index for indices in classes.values() for index in indices)
        self._seen: set[int] = set()
        self._losses: list[float] = []

    def batches(self, batches: Batches) -> None:
        """Check values and labels of the batch of each stream."""
        for batch in batches.values():
            self._batch(batch)

    def _batch(self, batch: Batch) -> None:
        if not torch.isfinite(batch.images).all():
            raise TrainingError(
                "a training patch contains NaN or infinite values after normalization; "
                "run 'autoseg check' on the dataset and check the plan's normalization"
            )
        present = {int(value) for value in torch.unique(batch.labels)}
        if max(present) > self._highest:
            raise TrainingError(
                f"a training patch contains class {max(present)}, expected at most {self._highest}; "
                "dataset.json does not match the preprocessed cases: preprocess again"
            )
        self._seen |= present

    def loss(self, value: float, step: int) -> None:
        """Record one loss; after the last checked step, warn about missing classes and a loss that does not fall."""
        self._losses.append(value)
        if step == EARLY_STEPS:
            self._conclude()

    def _conclude(self) -> None:
        missing = [name for name, indices in self._classes.items() if not indices & self._seen]
        if len(missing) == len(self._classes):
            logger.warning(
                "no foreground in the training patches of the first %d steps; check the label maps", EARLY_STEPS
            )
        elif missing:
            logger.warning(
                "classes missing in the training patches of the first %d steps: %s", EARLY_STEPS, ", ".join(missing)
            )
        tenth = EARLY_STEPS // 10
        if sum(self._losses[-tenth:]) >= sum(self._losses[:tenth]):
            logger.warning(
                "the loss did not fall in the first %d steps (%.3f to %.3f); check images, labels and learning rate",
                EARLY_STEPS,
                sum(self._losses[:tenth]) / tenth,
                sum(self._losses[-tenth:]) / tenth,
            )


def check_finite(losses: Mapping[str, float], step: int, batches: Batches) -> None:
    """Raise :class:`TrainingError` with the step and the cases of its batches if a loss is NaN or infinite."""
    for name, loss in losses.items():
        if not math.isfinite(loss):
            cases = dict.fromkeys(case for batch in batches.values() for case in batch.cases)
            raise TrainingError(
                f"the loss '{name}' is {loss} at step {step} (cases {', '.join(cases)}); lower the plan's learning "
                "rate, set its precision to float32, or check these images for extreme intensities"
            )
