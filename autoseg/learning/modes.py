"""Registry of trainers by name, and their interface."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import nn

from autoseg.learning.loader import Batch
from autoseg.registry import Registry

learning_modes: Registry = Registry(
    "trainers", modules=("autoseg.trainers.supervised", "autoseg.trainers.forest.training")
)


class LearningMode(Protocol):
    """A trainer for the training loop: it defines the loss."""

    def loss(self, network: nn.Module, batch: Batch) -> torch.Tensor:
        """Return the loss of a batch, a scalar to be minimized."""
        ...
