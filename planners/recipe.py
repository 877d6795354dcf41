"""Length of training, loss, optimizer and schedule for the available time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from autoseg.data.dataset import IGNORED, Dataset
from autoseg.learning.budget import SECONDS_PER_CASE
from autoseg.learning.costs.memory import batch_cost
from autoseg.learning.step_cost import BatchCost
from autoseg.plan.schema import SUPERVISED, Configuration, Training, voxels
from autoseg.planners.base import PlanRequest
from autoseg.planners.resources import Resources
from autoseg.registry import Component

LONG_ITERATIONS = 250_000
"""nnU-Net's number of steps (1000 epochs of 250 steps), for a GPU without a time budget."""
OVERNIGHT = 8 * 3600.0
"""Default time budget of one fold on a CPU, in seconds."""
ENOUGH_ITERATIONS = 10_000
"""Number of steps below which smaller batches are used: more steps then help more than larger batches."""
RESERVE = 0.93
"""Share of the budget for steps and validation cases, without startup, rehearsal and validation on patches."""
FORWARD = 1 / 3
"""Share of a forward pass in the time of a training step without the optimizer."""
FOLDS = 5
"""Number of folds, each with a different part of the cases for validation."""


OPTIMIZER: Component = {
    "name": "muon",
    "learning_rate": 2e-3,
    "vector_learning_rate": 1e-3,
    "weight_decay": 0.01,
}
"""Optimizer of a training with a time budget."""
USUAL_ITERATIONS = 1200
"""Number of steps from which these learning rates are the best of those tested; fewer steps get proportionally larger
rates."""
FASTEST = 4.0
"""Largest factor of these learning rates."""


@dataclass(frozen=True)
class Speed:
    """Speed of a training, from which the number of steps of a fold follows."""

    seconds: Callable[[int], float]
    """Returns the seconds of a step for a batch size."""
    time_budget: float
    validation: float = 0.0
    """Seconds for the validation cases, without mirrored copies."""

    def iterations(self, batch_size: int) -> int:
        """Count the steps with ``batch_size`` samples that fit into the budget."""
        return max(1, int((self.time_budget * RESERVE - self.validation) / self.seconds(batch_size)))


def speed_of(configuration: Configuration, cost: BatchCost, request: PlanRequest) -> Speed | None:
    """Return the training speed of a configuration; None without a time budget or if the device's speed is unknown."""
    budget, resources = configuration.training.time_budget, request.resources
    if budget is None or not (resources.is_here or resources.speed):
        return None
    from autoseg.planners.speed import speed_of_machine

    machine = speed_of_machine(resources.device, configuration.precision, name=resources.speed)

    def seconds(batch: int) -> float:
        augmented = cost.patches(batch) * voxels(configuration.patch_size)
        return machine.seconds(cost, batch) + augmented / machine.augmented_voxels

    alone = cost
    if configuration.trainer != SUPERVISED:
        # Validation predicts with the network alone, whatever else the trainer computes.
        alone = batch_cost(replace(configuration, trainer=SUPERVISED), request.dataset)
    sample = machine.seconds(alone, 1) - machine.seconds(alone, 0)
    cases = len(request.fingerprint.labelled)
    return Speed(seconds, budget, _validation_seconds(configuration, sample * FORWARD, cases))


def _validation_seconds(configuration: Configuration, forward: float, cases: int) -> float:
    """Estimate the seconds to validate one fold of ``cases``; each tile takes ``forward`` seconds."""
    shape, axes = configuration.median_shape, configuration.dimension
    slices = shape[0] if axes == 2 else 1
    # Tiles overlap by half along axes that are longer than the patch.
    tiles = math.prod(
        max(1, math.ceil(2 * n / p) - 1) for n, p in zip(shape[3 - axes :], configuration.patch_size, strict=True)
    )
    return math.ceil(cases / FOLDS) * (SECONDS_PER_CASE + slices * tiles * forward)


def time_budget(resources: Resources) -> float | None:
    """Return the seconds for one fold, or None if the number of steps is fixed."""
    if resources.time_budget is not None:
        return resources.time_budget
    return OVERNIGHT if resources.device == "cpu" else None


def affordable_batch(largest: int, smallest: int, speed: Speed | None) -> int:
    """Return the largest batch with which :data:`ENOUGH_ITERATIONS` fit into the budget, but at least ``smallest``."""
    if speed is None or speed.iterations(largest) >= ENOUGH_ITERATIONS:
        return largest
    affordable = int(largest * speed.iterations(largest) / ENOUGH_ITERATIONS)
    return max(smallest, min(affordable, largest))


def training(budget: float | None) -> Training:
    """Choose optimizer and schedule.

    Without a time budget: nnU-Net's SGD with a polynomial decay over 250,000 steps. With a time budget: Muon with a
    short warm-up and a cosine to zero. AdamW needs more than twice as many steps as Muon (benchmarks/README.md).
    """
    if budget is None:
        sgd: Component = {"name": "sgd", "learning_rate": 0.01, "momentum": 0.99, "nesterov": True}
        sgd["weight_decay"] = 3e-5
        return Training(optimizer=sgd, schedule={"name": "polynomial", "power": 0.9}, iterations=LONG_ITERATIONS)
    return Training(
        optimizer=dict(OPTIMIZER),
        schedule={"name": "cosine", "warmup": 0.03},
        time_budget=budget,
    )


def hastened(training: Training, steps: int) -> Training:
    """Increase the learning rates for few steps: up to four times the rates of :data:`OPTIMIZER`.

    With about 140 steps on images of nuclei, of their outlines and of vessels, this raised the Dice by 0.1 or more
    (benchmarks/README.md). Other optimizers, and learning rates chosen by a family, do not change.
    """
    usual = OPTIMIZER["learning_rate"], OPTIMIZER["vector_learning_rate"]
    optimizer = training.optimizer
    if (optimizer.get("learning_rate"), optimizer.get("vector_learning_rate")) != usual:
        return training
    factor = min(FASTEST, max(1.0, USUAL_ITERATIONS / steps))
    rates = {key: float(f"{factor * OPTIMIZER[key]:.2g}") for key in ("learning_rate", "vector_learning_rate")}
    return replace(training, optimizer={**optimizer, **rates})


def published(
    draft: Configuration, *, loss: Component, optimizer: Component, iterations: int, schedule: Component | None = None
) -> Configuration:
    """Set a published loss in a draft, and without a time budget also its optimizer, number of steps and schedule.

    The loss keeps the draft's regions and ignored label. The augmentation does not change; the publications only mirror
    and shift intensities, or have no augmentation. With a time budget, the draft keeps the default optimizer, which
    reaches more in few steps: in the same three minutes, DeepMedic reached a Dice of 0.80 with it, and 0.74 with its
    RMSProp (benchmarks/README.md).
    """
    labels = {key: value for key, value in draft.loss.items() if key in ("regions", "ignore_index")}
    # Regions have no output for the background.
    own = {key: value for key, value in loss.items() if key != "background" or "regions" not in labels}
    training = draft.training
    if training.time_budget is None:
        training = replace(training, optimizer=optimizer, iterations=iterations, schedule=schedule or training.schedule)
    return replace(draft, loss={**own, **labels}, training=training)


def objective(dataset: Dataset, *, batch_dice: bool) -> Component:
    """Choose the loss: soft Dice with cross-entropy for classes, or with binary cross-entropy for regions."""
    arguments: Component = {"batch_dice": batch_dice}
    if dataset.ignore:
        arguments["ignore_index"] = IGNORED
    if dataset.regions:
        regions = [list(members) for members in dataset.class_indices.values()]
        return {"name": "dice_binary_cross_entropy", "regions": regions, **arguments}
    return {"name": "dice_cross_entropy", **arguments}
