"""Learning from label maps: the loss of a network's logits against them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from torch import nn

from autoseg.losses import losses
from autoseg.losses.deep_supervision import DeepSupervision
from autoseg.losses.partial import accepting_annotation
from autoseg.networks.own_ways import learning_of
from autoseg.plan import Configuration
from autoseg.registry import Registry
from autoseg.trainers.loader import Batch

if TYPE_CHECKING:
    from autoseg.trainers.monitor import Listener
    from autoseg.trainers.setting import Setting

learning_modes: Registry = Registry(
    "trainers", modules=("autoseg.trainers.supervised", "autoseg.trainers.random_forest")
)


class LearningMode(Protocol):
    """A way to learn: what the loop minimizes."""

    def loss(self, network: nn.Module, batch: Batch) -> torch.Tensor:
        """Return the loss of a batch, a scalar to be minimized."""
        ...


@runtime_checkable
class OwnTraining(Protocol):
    """A way to learn that makes no steps along gradients, and so needs none of the loop."""

    def train(self, setting: Setting, *, started: float, listener: Listener | None) -> None:
        """Train a fold to its end, or go on where it was stopped, and write its model, which names its network.

        ``started`` is when the command began, by the monotonic clock. Raises
        :class:`autoseg.trainers.loop.Interrupted` after saving its state when a signal asks to stop.
        """
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
