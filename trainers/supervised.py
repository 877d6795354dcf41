"""Learning from label maps: the loss of a network's logits against them."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import nn

from autoseg.losses import losses
from autoseg.losses.deep_supervision import DeepSupervision
from autoseg.losses.partial import accepting_annotation
from autoseg.networks.own_ways import learning_of
from autoseg.plan import Configuration
from autoseg.registry import Registry
from autoseg.trainers.loader import Batch

learning_modes: Registry = Registry("trainers", modules=("autoseg.trainers.supervised",))


class LearningMode(Protocol):
    """A way to learn: what the loop minimizes."""

    def loss(self, network: nn.Module, batch: Batch) -> torch.Tensor:
        """Return the loss of a batch, a scalar to be minimized."""
        ...


@learning_modes.register("supervised")
class Supervised:
    """The plan's loss at every resolution that the network predicts."""

    def __init__(self, configuration: Configuration) -> None:
        self._loss = DeepSupervision(accepting_annotation(losses.build(configuration.loss)))

    def loss(self, network: nn.Module, batch: Batch) -> torch.Tensor:
        """Return the loss of one batch, and with it what the network adds where it has its own way to learn."""
        learn = learning_of(network)
        if learn is None:
            return self._loss(network(batch.images), batch.labels, batch.annotated)
        logits, more = learn(batch.images, batch.labels, batch.seeds or range(len(batch.images)))
        return self._loss(logits, batch.labels, batch.annotated) + more
