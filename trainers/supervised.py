"""Supervised training: the loss between a network's logits and label maps."""

from __future__ import annotations

import torch
from torch import nn

from autoseg.learning.loader import Batch
from autoseg.learning.modes import learning_modes
from autoseg.losses import losses
from autoseg.losses.deep_supervision import DeepSupervision
from autoseg.losses.partial import accepting_annotation
from autoseg.networks.protocols import learning_of
from autoseg.plan.schema import Configuration


@learning_modes.register("supervised")
class Supervised:
    """The plan's loss at each resolution of the network's output (deep supervision)."""

    def __init__(self, configuration: Configuration) -> None:
        self._loss = DeepSupervision(accepting_annotation(losses.build(configuration.loss)))

    def loss(self, network: nn.Module, batch: Batch) -> torch.Tensor:
        """Return the loss of one batch, plus the additional loss of a network with its own training forward pass."""
        learn = learning_of(network)
        if learn is None:
            return self._loss(network(batch.images), batch.labels, batch.annotated)
        logits, more = learn(batch.images, batch.labels, batch.seeds or range(len(batch.images)))
        return self._loss(logits, batch.labels, batch.annotated) + more
