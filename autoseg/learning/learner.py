"""The learner: network, loss, optimizer, schedule and weight average, and one training step."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from autoseg.learning.averaging import WeightAverage
from autoseg.learning.loader import Batch
from autoseg.learning.modes import LearningMode, learning_modes
from autoseg.learning.optimizers import optimizers
from autoseg.learning.schedules import Schedule, schedules
from autoseg.plan.schema import Configuration
from autoseg.system.processors import own_cores


@dataclass(frozen=True)
class Learner:
    """Network with its optimizer, schedule, weight average and loss."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    average: WeightAverage | None
    mode: LearningMode
    precision: str
    gradient_clip: float
    device: torch.device

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the autocast context for the precision of the plan."""
        if self.precision == "bfloat16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

    def evaluation_weights(self) -> dict[str, torch.Tensor] | None:
        """Return the weights for validation and the final model; None for the network's own weights."""
        return self.average.tensors if self.average else None

    def final_weights(self) -> dict[str, torch.Tensor]:
        """Return the weights of the model at the current step."""
        return self.evaluation_weights() or self.network.state_dict()


def build_learner(
    configuration: Configuration, network: nn.Module, *, device: torch.device, trainer: str = "supervised"
) -> Learner:
    """Build the learner of ``network`` from a configuration.

    Raises :class:`autoseg.errors.PlanError` if an optimizer, schedule, loss or argument does not exist.
    """
    training = configuration.training
    return Learner(
        network=network,
        optimizer=optimizers.build(training.optimizer, parameters=network.parameters()),
        schedule=schedules.build(training.schedule),
        average=WeightAverage(network, training.ema_decay) if training.ema_decay is not None else None,
        mode=learning_modes.get(trainer)(configuration),
        precision=configuration.precision,
        gradient_clip=training.gradient_clip,
        device=device,
    )


def learning_step(learner: Learner, batch: Batch, factor: float) -> torch.Tensor:
    """Make one step with the learning rate multiplied by ``factor``; return the loss, a scalar."""
    with own_cores():
        loss = compute_gradients(learner, batch)
        change_weights(learner, factor)
    return loss


def compute_gradients(learner: Learner, batch: Batch) -> torch.Tensor:
    """Compute the gradients and clip their norm; return the loss."""
    learner.optimizer.zero_grad(set_to_none=True)
    with learner.autocast():
        loss = learner.mode.loss(learner.network, batch)
    loss.backward()
    nn.utils.clip_grad_norm_(learner.network.parameters(), learner.gradient_clip)
    return loss.detach()


def change_weights(learner: Learner, factor: float) -> None:
    """Update the weights from the gradients, with the learning rate multiplied by ``factor``."""
    for group in learner.optimizer.param_groups:
        group.setdefault("base_rate", group["lr"])
        group["lr"] = group["base_rate"] * factor
    learner.optimizer.step()
