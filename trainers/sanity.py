"""Signs in the first steps that a training will come to nothing, told while there is still time."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence

import torch

from autoseg.errors import TrainingError
from autoseg.trainers.loader import Batch

logger = logging.getLogger("autoseg.training")

EARLY_STEPS = 100
"""Steps that are watched; enough for every class of most datasets to turn up."""


class SanityCheck:
    """Watches the batches and losses of the first steps and warns once of each thing that is wrong."""

    def __init__(self, classes: Mapping[str, Sequence[int]]) -> None:
        """``classes``: label indices of each class."""
        self._classes = {name: set(indices) for name, indices in classes.items()}
        self._highest = max(index for indices in classes.values() for index in indices)
        self._seen: set[int] = set()
        self._losses: list[float] = []

    def batch(self, batch: Batch) -> None:
        """Check values and labels of one batch."""
        if not torch.isfinite(batch.images).all():
            raise TrainingError(
                "a training patch holds NaN or infinite values after normalization; "
                "run 'autoseg check' on the dataset and look at the plan's normalization"
            )
        present = {int(value) for value in torch.unique(batch.labels)}
        if max(present) > self._highest:
            raise TrainingError(
                f"a training patch holds class {max(present)}, expected at most {self._highest}; "
                "dataset.json and the preprocessed cases do not belong together: preprocess again"
            )
        self._seen |= present

    def loss(self, value: float, step: int) -> None:
        """Check one loss; after the last early step, say what was amiss in all of them."""
        check_finite(value, step)
        self._losses.append(value)
        if step == EARLY_STEPS:
            self._conclude()

    def _conclude(self) -> None:
        missing = [name for name, indices in self._classes.items() if not indices & self._seen]
        if len(missing) == len(self._classes):
            logger.warning("no foreground was seen in the first %d steps; look at the label maps", EARLY_STEPS)
        elif missing:
            logger.warning("not seen in the first %d steps: %s", EARLY_STEPS, ", ".join(missing))
        tenth = EARLY_STEPS // 10
        if sum(self._losses[-tenth:]) >= sum(self._losses[:tenth]):
            logger.warning(
                "the loss did not fall in the first %d steps (%.3f to %.3f); look at images, labels and learning rate",
                EARLY_STEPS,
                sum(self._losses[:tenth]) / tenth,
                sum(self._losses[-tenth:]) / tenth,
            )


def check_finite(loss: float, step: int) -> None:
    """Raise :class:`TrainingError` where a loss is NaN or infinite."""
    if not math.isfinite(loss):
        raise TrainingError(
            f"the loss is {loss} at step {step}; lower the plan's learning rate, set its precision to float32, "
            "or look for extreme intensities in the images"
        )
