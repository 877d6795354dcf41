"""How long to train and with which optimizer: what the time at hand allows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from autoseg.plan import Component, Configuration, Training
from autoseg.planners.base import PlanRequest
from autoseg.planners.memory import BatchCost
from autoseg.planners.resources import Resources

LONG_ITERATIONS = 250_000
"""nnU-Net's length, 1000 epochs of 250 steps: where there is a GPU and nobody is waiting."""
OVERNIGHT = 8 * 3600.0
"""Seconds for one fold on a CPU where no time budget is given."""
ENOUGH_ITERATIONS = 10_000
"""Steps below which smaller batches with more steps learn more than larger batches with fewer."""
RESERVE = 0.9
"""Share of the budget that is left for steps once validation and start-up have had theirs."""


@dataclass(frozen=True)
class Speed:
    """Steps that a fold can make."""

    seconds: Callable[[int], float]
    """Time of a step with a batch of so many samples."""
    time_budget: float

    def iterations(self, batch_size: int) -> int:
        """Count the steps of ``batch_size`` that fit into the budget."""
        return max(1, int(self.time_budget * RESERVE / self.seconds(batch_size)))


def speed_of(configuration: Configuration, cost: BatchCost, request: PlanRequest) -> Speed | None:
    """Tell how fast a configuration trains; None where no time budget bounds it, or its device is elsewhere."""
    budget, device = configuration.training.time_budget, request.resources.device
    if budget is None or not request.resources.is_here:
        return None
    from autoseg.planners.throughput import throughput

    measured = throughput(configuration, request.dataset, device)
    return Speed(lambda batch: measured.seconds(cost, batch), budget)


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
        optimizer={"name": "muon", "learning_rate": 2e-3, "vector_learning_rate": 1e-3, "weight_decay": 0.01},
        schedule={"name": "cosine", "warmup": 0.03},
        time_budget=budget,
    )


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
