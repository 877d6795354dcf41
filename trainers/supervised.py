"""Supervised training: the loss between a network's logits and label maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from autoseg.data.dataset import Dataset
from autoseg.learning.streams import LABELLED, StreamPlan, labelled_stream
from autoseg.learning.trainer import NETWORK, Batches, OptimizerPlan, Step, Task, planned_optimizer, trainers
from autoseg.losses import losses
from autoseg.losses.deep_supervision import DeepSupervision
from autoseg.losses.partial import accepting_annotation
from autoseg.networks.protocols import learning_of
from autoseg.plan.schema import Configuration

PRIOR = "network"
"""Name of the loss that a network with its own training pass adds."""


@trainers.register("supervised")
@dataclass(frozen=True)
class Supervised:
    """The loss of the plan at each resolution of the network's output (deep supervision)."""

    def streams(self, configuration: Configuration, dataset: Dataset) -> Mapping[str, StreamPlan]:
        """Return the stream of labelled cases."""
        return {LABELLED: labelled_stream(configuration)}

    def start(self, task: Task) -> SupervisedLearning:
        """Return the learning method for a network."""
        return SupervisedLearning(task)


class SupervisedLearning:
    """Supervised learning of one network."""

    def __init__(self, task: Task) -> None:
        self.modules: Mapping[str, nn.Module] = {NETWORK: task.network}
        self.optimizers: Mapping[str, OptimizerPlan] = {NETWORK: planned_optimizer(task.configuration)}
        self._network = task.network
        self._loss = DeepSupervision(accepting_annotation(losses.build(task.configuration.loss)))
        self._name = str(task.configuration.loss["name"])

    def step(self, batches: Batches, step: Step) -> dict[str, torch.Tensor]:
        """Return the loss of a batch, and the additional loss of a network with its own training forward pass."""
        batch = batches[LABELLED]
        learn = learning_of(self._network)
        if learn is None:
            return {self._name: self._loss(self._network(batch.images), batch.labels, batch.annotated)}
        logits, more = learn(batch.images, batch.labels, batch.seeds or range(len(batch.images)))
        return {self._name: self._loss(logits, batch.labels, batch.annotated), PRIOR: more}
