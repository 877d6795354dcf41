"""The training loop: steps, weight average, validation on patches, checkpoints, time budget, interruption."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from autoseg.files.weights import save_tensors
from autoseg.learning.averaging import weights_of
from autoseg.learning.budget import TimeBudget
from autoseg.learning.learner import Learner, learning_step
from autoseg.learning.missed_classes import warn_of_missed_classes
from autoseg.learning.monitor import Listener, MetricsFile, Report
from autoseg.learning.patch_score import PatchScore
from autoseg.learning.plateau import WatchingSchedule
from autoseg.learning.progress import VALIDATIONS
from autoseg.learning.sanity import EARLY_STEPS, SanityCheck, check_finite
from autoseg.learning.state import TrainingState, save_progress
from autoseg.learning.trainer import Batches, ScoresClasses, Step
from autoseg.workspace.paths import FoldFolder, read_metrics

logger = logging.getLogger("autoseg.training")

SHORTEST_INTERVAL = 50
"""Smallest number of steps between validations."""
VALIDATION_SHARE = 0.04
"""Largest ratio of validation time to training time, so that short trainings spend most of their time on steps."""
PATCHES_PER_SAMPLE = 3
"""Number of patches that are predicted in the time of one training sample (forward and backward)."""
SMOOTHING = 0.7
"""Weight of the previous value in the smoothed validation score, which selects the best weights: patches are few and
noisy."""


class Interrupted(Exception):  # noqa: N818 - not an error: the state is saved
    """Training stopped on request; its state is saved."""


@dataclass(frozen=True)
class Validated:
    """Result of a validation during training."""

    classes: Mapping[str, PatchScore]
    """Quality of each class on patches; empty if the network does not segment."""
    metrics: Mapping[str, float | None]
    """Metrics of the trainer, by name; None where a metric is not defined."""

    @property
    def dice(self) -> float | None:
        """Mean Dice of the classes for which it is defined; None without such a class."""
        known = [score.dice for score in self.classes.values() if score.dice is not None]
        return sum(known) / len(known) if known else None

    def score(self) -> float | None:
        """Return what selects the best weights: the mean Dice, or the first metric if the network does not segment."""
        return self.dice if self.classes else next(iter(self.metrics.values()), None)


@dataclass(frozen=True)
class StepRandom:
    """Random numbers of a step as functions of its number; a resumed training gets the same."""

    seed: Callable[[int], int]
    """Seed of PyTorch's generator, for example for dropout."""
    rng: Callable[[int], Any]
    """Generator of the trainer."""

    def begin(self, number: int, fraction: float) -> Step:
        """Seed PyTorch's generator for step ``number``, and return the step."""
        torch.manual_seed(self.seed(number))
        return Step(number, fraction, self.rng(number))


@dataclass(frozen=True)
class LoopSettings:
    """Settings of the training loop: files, validation, limits and listener."""

    folder: FoldFolder
    classes: Mapping[str, tuple[int, ...]]
    """Label indices of each class."""
    validate: Callable[[bool], Validated]
    """Measures the current weights of the network on validation cases; true for the validation after the last step."""
    shortest_interval: int
    """Smallest number of steps between validations."""
    time: TimeBudget | None
    """None if the number of steps is fixed."""
    stop_requested: Callable[[], bool]
    checkpoint_seconds: float
    """Seconds between checkpoints; a killed process loses at most this much work."""
    identity: Mapping[str, Any]
    """Settings that must be the same when the training is resumed."""
    random: StepRandom
    listener: Listener | None = None


def run_loop(learner: Learner, state: TrainingState, batches: Iterator[Batches], settings: LoopSettings) -> None:
    """Train to the last step; raise :class:`Interrupted` after saving the state if a stop is requested."""
    progress, metrics = state.progress, MetricsFile(settings.folder.metrics, step=state.progress.step)
    sanity = SanityCheck(settings.classes)
    saved_at, first = time.monotonic(), progress.step
    progress.mark()
    _set_training(learner)
    while not progress.done:
        batch = next(batches)
        watched = progress.step < EARLY_STEPS
        if watched:
            sanity.batches(batch)
        step = settings.random.begin(progress.step, progress.fraction)
        losses = {name: float(loss) for name, loss in learning_step(learner, batch, step).items()}
        progress.advance()
        if learner.average:
            learner.average.update(learner.network, progress.step)
        check_finite(losses, progress.step, batch)
        if watched:
            sanity.loss(sum(losses.values()), progress.step)
        state.losses.append(losses)
        if progress.step == first + 1:
            # The first step waits for the start of the loader workers: leave it out of the measured speed.
            progress.mark()
        if settings.time and not progress.done and settings.time.is_due(progress):
            settings.time.fit(progress, _interval(progress.total, settings))
        if progress.done or progress.step % _interval(progress.total, settings) == 0:
            _validate(learner, state, metrics, settings)
        if settings.listener:
            settings.listener(report(learner, state, sum(losses.values())))
        if settings.stop_requested() or time.monotonic() - saved_at > settings.checkpoint_seconds:
            save_progress(learner, state, settings.folder, settings.identity)
            saved_at = time.monotonic()
            if settings.stop_requested():
                raise Interrupted


def _set_training(learner: Learner) -> None:
    for module in learner.method.modules.values():
        module.train()


def report(learner: Learner, state: TrainingState, loss: float) -> Report:
    """Return the current state of training for listeners."""
    progress = state.progress
    seconds_each = progress.rate()
    return Report(
        step=progress.step,
        total=progress.total,
        loss=loss,
        learning_rate=next(iter(learner.learning_rates().values()), 0.0),
        validation_dice=state.last_dice,
        iterations_per_second=1.0 / max(seconds_each, 1e-9),
        seconds_left=(progress.total - progress.step) * seconds_each,
    )


def shortest_interval(patches: int, batch_size: int, learner: Learner) -> int:
    """Return the smallest interval in steps between validations on ``patches`` that respects :data:`VALIDATION_SHARE`.

    A schedule that depends on validation always gets :data:`SHORTEST_INTERVAL`: its learning rate must not depend on
    the cost of validation.
    """
    if isinstance(learner.method, ScoresClasses):
        return learner.method.interval
    if any(isinstance(found.schedule, WatchingSchedule) for found in learner.optimizers.values()):
        return SHORTEST_INTERVAL
    steps = patches / PATCHES_PER_SAMPLE / batch_size
    return max(SHORTEST_INTERVAL, math.ceil(steps / VALIDATION_SHARE))


def _interval(total: int, settings: LoopSettings) -> int:
    """Return the steps between validations; they depend on steps, not on time, so that runs are reproducible."""
    return max(settings.shortest_interval, total // VALIDATIONS)


def _validate(learner: Learner, state: TrainingState, metrics: MetricsFile, settings: LoopSettings) -> None:
    """Validate, save the best weights, write metrics, and fit the steps to the budget."""
    progress = state.progress
    progress.mark()
    begun = progress.tick()
    with weights_of(learner.network, learner.evaluation_weights()), learner.autocast():
        found = settings.validate(progress.done)
    seconds = progress.tick() - begun
    state.last_dice = found.dice
    _judge(learner, state, found.score(), settings.folder)
    metrics.append(_line(learner, state, found))
    warn_of_missed_classes(read_metrics(metrics.path))
    state.losses.clear()
    if settings.time:
        settings.time.look = seconds
        if not progress.done:
            settings.time.fit(progress, _interval(progress.total, settings))
    progress.mark()


def _judge(learner: Learner, state: TrainingState, score: float | None, folder: FoldFolder) -> None:
    """Smooth the score, inform the schedules that depend on it, and save the weights if they are the best."""
    if score is None:
        return
    past = state.smoothed_score
    state.smoothed_score = score if past is None else SMOOTHING * past + (1 - SMOOTHING) * score
    for found in learner.optimizers.values():
        if isinstance(found.schedule, WatchingSchedule):
            found.schedule.watch(state.progress.fraction, state.smoothed_score)
    if state.best_score is None or state.smoothed_score > state.best_score:
        state.best_score = state.smoothed_score
        save_tensors(folder.best, learner.final_weights())


def _line(learner: Learner, state: TrainingState, found: Validated) -> dict[str, Any]:
    """Return a line of the metrics file; losses are means over the steps since the last line."""
    rates, sums = learner.learning_rates(), [sum(losses.values()) for losses in state.losses]
    means = {name: sum(losses[name] for losses in state.losses) / len(sums) for name in state.losses[-1]}
    return {
        "step": state.progress.step,
        "total": state.progress.total,
        "loss": sum(sums) / len(sums),
        "losses": means,
        "validation_dice": found.dice,
        "class_dice": {name: score.dice for name, score in found.classes.items()},
        "class_recall": {name: score.recall for name, score in found.classes.items()},
        **({"metrics": dict(found.metrics)} if found.metrics else {}),
        "learning_rate": next(iter(rates.values()), None),
        **({"learning_rates": rates} if len(rates) > 1 else {}),
        "seconds": round(state.progress.tick(), 1),
    }
