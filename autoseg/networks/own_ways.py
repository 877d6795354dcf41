"""What a network may do beside ``forward``: learn in a way of its own, and give more than one map of an image.

Whoever trains or predicts asks these two functions, and does without where the answer is None.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import nn


class Learn(Protocol):
    """A method ``learn`` of a network that needs the target while it learns, or that adds to the loss."""

    def __call__(
        self, images: torch.Tensor, labels: torch.Tensor, seeds: Sequence[int]
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Return logits, finest first, for the plan's loss, and a scalar that is added to it.

        ``images`` [B,C,*patch], ``labels`` [B,*patch] int64 as in :class:`autoseg.trainers.loader.Batch`. Whatever the
        network draws for a sample it draws from the sample's seed, so that a training that is gone on with is the same.
        """
        ...


class Hypothesis(Protocol):
    """A method ``hypothesis`` of a network that holds several maps of one image to be plausible."""

    def __call__(self, rng: np.random.Generator) -> nn.Module:
        """Return a network that gives one of them for every image, which one being drawn from ``rng``."""
        ...


def learning_of(network: nn.Module) -> Learn | None:
    """Return how a network learns; None where the loss of its logits is all that there is to it."""
    return getattr(network, "learn", None)


def hypothesis_of(network: nn.Module) -> Hypothesis | None:
    """Return what draws one of a network's hypotheses; None where it has a single one."""
    return getattr(network, "hypothesis", None)
