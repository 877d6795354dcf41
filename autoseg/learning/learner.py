"""The learner: a learning method with its optimizers, schedules and weight average, and one training step."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from autoseg.errors import PlanError
from autoseg.learning.averaging import WeightAverage
from autoseg.learning.optimizers import optimizers
from autoseg.learning.schedules import Schedule, schedules
from autoseg.learning.trainer import (
    NETWORK,
    Batches,
    FollowsSteps,
    LearningMethod,
    OptimizerPlan,
    Step,
    Task,
    Trainer,
    build_trainer,
    owners,
)
from autoseg.preprocessing.channel_layout import channel_layout
from autoseg.system.processors import own_cores


@dataclass(frozen=True)
class ScheduledOptimizer:
    """An optimizer with its weights, its schedule, and the largest norm of its gradients."""

    optimizer: torch.optim.Optimizer
    schedule: Schedule
    parameters: tuple[nn.Parameter, ...]
    gradient_clip: float


@dataclass(frozen=True)
class Learner:
    """A learning method with its optimizers and the weight average of the network."""

    method: LearningMethod
    optimizers: Mapping[str, ScheduledOptimizer]
    average: WeightAverage | None
    precision: str
    device: torch.device
    channels: int
    """Number of input channels of the network."""

    @property
    def network(self) -> nn.Module:
        """The network that is validated and exported."""
        return self.method.modules[NETWORK]

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

    def learning_rates(self) -> dict[str, float]:
        """Return the current learning rate of each optimizer."""
        return {name: found.optimizer.param_groups[0]["lr"] for name, found in self.optimizers.items()}


def build_learner(task: Task, trainer: Trainer | None = None) -> Learner:
    """Build the learner of a task; the default ``trainer`` is that of the plan.

    Raises :class:`PlanError` if a trainer, optimizer, schedule, loss or argument does not exist, or if two optimizers
    change the same weight.
    """
    configuration, name = task.configuration, str(task.configuration.trainer.get("name"))
    method = (trainer or build_trainer(configuration)).start(task)
    if NETWORK not in method.modules:
        raise PlanError(f"trainer '{name}': found no module '{NETWORK}', expected the network to export")
    for module in method.modules.values():
        _move(module, task.device)
    owned = owners(method, name)
    decay = configuration.training.ema_decay
    return Learner(
        method=method,
        optimizers={key: _scheduled(plan, owned[key]) for key, plan in method.optimizers.items()},
        average=WeightAverage(method.modules[NETWORK], decay) if decay is not None else None,
        precision=configuration.precision,
        device=task.device,
        channels=channel_layout(configuration, task.dataset).inputs,
    )


def _move(module: nn.Module, device: torch.device) -> None:
    """Move a module that is elsewhere; fake tensors, on which a step is counted, cannot be moved."""
    if any(tensor.device.type != device.type for tensor in module.state_dict().values()):
        module.to(device)


def _scheduled(plan: OptimizerPlan, parameters: list[nn.Parameter]) -> ScheduledOptimizer:
    optimizer = optimizers.build(plan.optimizer, parameters=iter(parameters))
    return ScheduledOptimizer(optimizer, schedules.build(plan.schedule), tuple(parameters), plan.gradient_clip)


def learning_step(learner: Learner, batches: Batches, step: Step) -> dict[str, torch.Tensor]:
    """Make one step; return the losses by name, scalars without gradient."""
    # Without gradients, a trainer has threads of its own, which start on the cores of this thread.
    with own_cores() if learner.optimizers else nullcontext():
        losses = compute_gradients(learner, batches, step)
        change_weights(learner, step)
    return losses


def compute_gradients(learner: Learner, batches: Batches, step: Step) -> dict[str, torch.Tensor]:
    """Compute the gradients of the sum of the losses and clip their norm; return the losses."""
    for found in learner.optimizers.values():
        found.optimizer.zero_grad(set_to_none=True)
    with learner.autocast():
        losses = learner.method.step(batches, step)
    if learner.optimizers:
        first, *others = losses.values()
        sum(others, start=first).backward()
    for found in learner.optimizers.values():
        nn.utils.clip_grad_norm_(found.parameters, found.gradient_clip)
    return {name: loss.detach() for name, loss in losses.items()}


def change_weights(learner: Learner, step: Step) -> None:
    """Update the weights from the gradients, with the learning rates of the schedules."""
    for found in learner.optimizers.values():
        factor = found.schedule(step.fraction)
        for group in found.optimizer.param_groups:
            group.setdefault("base_rate", group["lr"])
            group["lr"] = group["base_rate"] * factor
        found.optimizer.step()
    if isinstance(learner.method, FollowsSteps):
        learner.method.after_step(step)
