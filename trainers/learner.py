"""What learns: a network with its loss and its optimizer, and one step of it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from autoseg.plan import Configuration
from autoseg.processors import own_cores
from autoseg.trainers.averaging import WeightAverage
from autoseg.trainers.loader import Batch
from autoseg.trainers.optimizers import optimizers
from autoseg.trainers.schedules import Schedule, schedules
from autoseg.trainers.supervised import LearningMode, learning_modes


@dataclass(frozen=True)
class Learner:
    """What learns: a network, how its weights change and are averaged."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    average: WeightAverage | None
    mode: LearningMode
    precision: str
    gradient_norm: float
    device: torch.device

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context in which the network computes."""
        if self.precision == "bfloat16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

    def evaluation_weights(self) -> dict[str, torch.Tensor] | None:
        """Return the weights that validation and the final model take; None for the network's own."""
        return self.average.tensors if self.average else None

    def final_weights(self) -> dict[str, torch.Tensor]:
        """Return the weights of the model as trained so far."""
        return self.evaluation_weights() or self.network.state_dict()


def build_learner(
    configuration: Configuration, network: nn.Module, *, device: torch.device, trainer: str = "supervised"
) -> Learner:
    """Put together what a configuration trains ``network`` with.

    Raises :class:`autoseg.errors.PlanError` for an optimizer, schedule, loss or arguments that do not exist.
    """
    training = configuration.training
    return Learner(
        network=network,
        optimizer=optimizers.build(training.optimizer, parameters=network.parameters()),
        schedule=schedules.build(training.schedule),
        average=WeightAverage(network, training.average_decay) if training.average_decay is not None else None,
        mode=learning_modes.get(trainer)(configuration),
        precision=configuration.precision,
        gradient_norm=training.gradient_norm,
        device=device,
    )


def learning_step(learner: Learner, batch: Batch, factor: float) -> torch.Tensor:
    """Make one step with the learning rate multiplied by ``factor``; return the loss, a scalar."""
    with own_cores():
        loss = compute_gradients(learner, batch)
        change_weights(learner, factor)
    return loss


def compute_gradients(learner: Learner, batch: Batch) -> torch.Tensor:
    """Give each weight its gradient, of a bounded norm; return the loss."""
    learner.optimizer.zero_grad(set_to_none=True)
    with learner.autocast():
        loss = learner.mode.loss(learner.network, batch)
    loss.backward()
    nn.utils.clip_grad_norm_(learner.network.parameters(), learner.gradient_norm)
    return loss.detach()


def change_weights(learner: Learner, factor: float) -> None:
    """Let the optimizer use the gradients, with the learning rate multiplied by ``factor``."""
    for group in learner.optimizer.param_groups:
        group.setdefault("base_rate", group["lr"])
        group["lr"] = group["base_rate"] * factor
    learner.optimizer.step()
