"""Optional methods of a network besides ``forward``: ``learn`` for a custom training step, and ``hypothesis``.

Training calls :func:`learning_of` and prediction calls :func:`hypothesis_of`. If the result is None, they use
``forward``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import nn


class Learn(Protocol):
    """Method ``learn`` of a network that needs the target during training or that adds a term to the loss."""

    def __call__(
        self, images: torch.Tensor, labels: torch.Tensor, seeds: Sequence[int]
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Return logits, finest first, for the loss of the plan, and a scalar that is added to this loss.

        ``images`` are [B,C,*patch] and ``labels`` [B,*patch] int64, as in :class:`autoseg.learning.batch.Batch`. All
        random numbers for a sample come from its entry in ``seeds``, so that a resumed training gives the same result.
        """
        ...


class Hypothesis(Protocol):
    """Method ``hypothesis`` of a network that can predict several plausible segmentations of one image."""

    def __call__(self, rng: np.random.Generator) -> nn.Module:
        """Return a network that predicts one segmentation per image; ``rng`` selects which one."""
        ...


def learning_of(network: nn.Module) -> Learn | None:
    """Return the method ``learn`` of a network; None if training needs only the loss of its logits."""
    return getattr(network, "learn", None)


def hypothesis_of(network: nn.Module) -> Hypothesis | None:
    """Return the method ``hypothesis`` of a network; None if it predicts a single segmentation."""
    return getattr(network, "hypothesis", None)
