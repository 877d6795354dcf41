"""How long to train and with which optimizer: what the time at hand allows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from autoseg.plan import Component, Configuration, Training, voxels
from autoseg.planners.base import PlanRequest
from autoseg.planners.memory import BatchCost
from autoseg.planners.resources import Resources

LONG_ITERATIONS = 250_000
"""nnU-Net's length, 1000 epochs of 250 steps: where there is a GPU and nobody is waiting."""
OVERNIGHT = 8 * 3600.0
"""Seconds for one fold on a CPU where no time budget is given."""
ENOUGH_ITERATIONS = 10_000
"""Steps below which smaller batches with more steps learn more than larger batches with fewer."""
RESERVE = 0.93
"""Share of the budget that is left once starting up, rehearsing and validating on patches have had theirs."""
SECONDS_PER_CASE = 0.2
"""Reading, writing and measuring one validation case, beside the network's time."""
FORWARD = 1 / 3
"""Share of a training step's time, its optimizer apart, that a forward takes."""
FOLDS = 5
"""Parts into which cases are divided, one of which is validated."""


OPTIMIZER: Component = {
    "name": "muon",
    "learning_rate": 2e-3,
    "vector_learning_rate": 1e-3,
    "weight_decay": 0.01,
}
"""Where a time budget bounds the training."""
USUAL_ITERATIONS = 1200
"""Steps from which on these learning rates are the best that were tried; fewer want larger ones, in proportion."""
FASTEST = 4.0
"""Times these learning rates at most."""


@dataclass(frozen=True)
class Speed:
    """Steps that a fold can make."""

    seconds: Callable[[int], float]
    """Time of a step with a batch of so many samples."""
    time_budget: float
    validation: float = 0.0
    """Seconds that the validation cases take, not mirrored."""

    def iterations(self, batch_size: int) -> int:
        """Count the steps of ``batch_size`` that fit into the budget."""
        return max(1, int((self.time_budget * RESERVE - self.validation) / self.seconds(batch_size)))


def speed_of(configuration: Configuration, cost: BatchCost, request: PlanRequest) -> Speed | None:
    """Tell how fast a configuration trains; None where no time budget bounds it, or its device's speed is not known."""
    budget, resources = configuration.training.time_budget, request.resources
    if budget is None or not (resources.is_here or resources.speed):
        return None
    from autoseg.planners.speed import speed_of_machine

    machine = speed_of_machine(resources.device, configuration.precision, name=resources.speed)

    def seconds(batch: int) -> float:
        return machine.seconds(cost, batch) + batch * voxels(configuration.patch_size) / machine.augmented_voxels

    sample = machine.seconds(cost, 1) - machine.seconds(cost, 0)
    return Speed(seconds, budget, _validation_seconds(configuration, sample * FORWARD, len(request.fingerprint.cases)))


def _validation_seconds(configuration: Configuration, forward: float, cases: int) -> float:
    """Estimate the time of validating a fold's part of ``cases`` in tiles that take ``forward`` each."""
    shape, axes = configuration.median_shape, configuration.dimension
    slices = shape[0] if axes == 2 else 1
    # Tiles overlap by half along axes that are longer than they are.
    tiles = math.prod(
        max(1, math.ceil(2 * n / p) - 1) for n, p in zip(shape[3 - axes :], configuration.patch_size, strict=True)
    )
    return math.ceil(cases / FOLDS) * (SECONDS_PER_CASE + slices * tiles * forward)


def time_budget(resources: Resources) -> float | None:
    """Seconds for one fold, or None where the number of iterations decides."""
    if resources.time_budget is not None:
        return resources.time_budget
    return OVERNIGHT if resources.device == "cpu" else None


def affordable_batch(largest: int, smallest: int, speed: Speed | None) -> int:
    """Return the largest batch with which :data:`ENOUGH_ITERATIONS` fit into the budget, ``smallest`` at least."""
    if speed is None or speed.iterations(largest) >= ENOUGH_ITERATIONS:
        return largest
    affordable = int(largest * speed.iterations(largest) / ENOUGH_ITERATIONS)
    return max(smallest, min(affordable, largest))


def training(budget: float | None) -> Training:
    """Choose optimizer and schedule.

    Without a time budget: nnU-Net's SGD with a polynomial decay over 250,000 steps. With one: Muon, which learns in
    few steps what AdamW needs more than twice as many for (benchmarks/README.md), a short warm-up and a cosine to zero.
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
    """Let few steps learn faster: the optimizer of short times has up to four times its learning rates.

    With these, about 140 steps on pictures of nuclei, of their outlines and of vessels reached a Dice that was 0.1 and
    more higher (benchmarks/README.md). Other optimizers, and learning rates that a family chose, stay.
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
    """Give a draft a published loss, told of its labels, and the optimizer, length and schedule that go with it.

    Its augmentation stays that of all networks, where the publications mirror and shift intensities, or do nothing.
    Where a time budget bounds the training, the draft keeps those of all networks, which learn more in few steps: in
    the same three minutes DeepMedic reached a Dice of 0.80 with them, with its RMSProp 0.74 (benchmarks/README.md).
    """
    labels = {key: value for key, value in draft.loss.items() if key in ("regions", "ignore_index")}
    # Regions have no output for the background.
    own = {key: value for key, value in loss.items() if key != "background" or "regions" not in labels}
    training = draft.training
    if training.time_budget is None:
        training = replace(training, optimizer=optimizer, iterations=iterations, schedule=schedule or training.schedule)
    return replace(draft, loss={**own, **labels}, training=training)
