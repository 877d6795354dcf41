"""The training loop: steps, precision, schedule, weight average, validation on patches, checkpoints."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from autoseg.errors import TrainingError
from autoseg.files.weights import save_tensors
from autoseg.learning.averaging import weights_of
from autoseg.learning.budget import TimeBudget
from autoseg.learning.checkpoint import load_state, optimizer_tensors, restore_optimizer, save_state
from autoseg.learning.learner import Learner, learning_step
from autoseg.learning.loader import Batch
from autoseg.learning.missed_classes import warn_of_missed_classes
from autoseg.learning.monitor import Listener, MetricsFile, Report
from autoseg.learning.plateau import WatchingSchedule
from autoseg.learning.progress import VALIDATIONS, TrainingProgress
from autoseg.learning.sanity import EARLY_STEPS, SanityCheck, check_finite
from autoseg.learning.validation.cases import PatchScore
from autoseg.workspace.paths import FoldFolder, read_metrics

logger = logging.getLogger("autoseg.training")

SHORTEST_INTERVAL = 50
"""Smallest number of steps between validations."""
VALIDATION_SHARE = 0.04
"""Largest ratio of validation time to training time, so that short trainings spend most of their time on steps."""
PATCHES_PER_SAMPLE = 3
"""Number of patches that are predicted in the time of one training sample (forward and backward)."""
SMOOTHING = 0.7
"""Weight of the previous value in the smoothed validation Dice, which selects the best weights: patches are few and
noisy."""


class Interrupted(Exception):  # noqa: N818 - not an error: the state is saved
    """Training stopped on request; its state is saved."""


@dataclass
class TrainingState:
    """State of a fold's training, without the weights."""

    progress: TrainingProgress
    smoothed_dice: float | None = None
    best_dice: float = -1.0
    last_dice: float | None = None
    losses: list[float] = field(default_factory=list)
    """Losses of the steps since the last line of the metrics file."""


@dataclass(frozen=True)
class LoopSettings:
    """Settings of the training loop: files, validation, limits and listener."""

    folder: FoldFolder
    classes: Mapping[str, tuple[int, ...]]
    """Label indices of each class."""
    validate: Callable[[], dict[str, PatchScore]]
    """Measures each class on validation patches with the current weights of the network."""
    shortest_interval: int
    """Smallest number of steps between validations."""
    time: TimeBudget | None
    """None if the number of steps is fixed."""
    stop_requested: Callable[[], bool]
    checkpoint_seconds: float
    """Seconds between checkpoints; a killed process loses at most this much work."""
    identity: Mapping[str, Any]
    """Settings that must be the same when the training is resumed."""
    step_seed: Callable[[int], int]
    """Returns the seed of a step, for example for dropout; a resumed training gets the same seeds."""
    listener: Listener | None = None


def run_loop(learner: Learner, state: TrainingState, batches: Iterator[Batch], settings: LoopSettings) -> None:
    """Train to the last step; raise :class:`Interrupted` after saving the state if a stop is requested."""
    progress, metrics = state.progress, MetricsFile(settings.folder.metrics, step=state.progress.step)
    sanity = SanityCheck(settings.classes)
    saved_at, first = time.monotonic(), progress.step
    progress.mark()
    learner.network.train()
    while not progress.done:
        batch = next(batches)
        watched = progress.step < EARLY_STEPS
        if watched:
            sanity.batch(batch)
        torch.manual_seed(settings.step_seed(progress.step))
        loss = float(learning_step(learner, batch, learner.schedule(progress.fraction)))
        progress.advance()
        if learner.average:
            learner.average.update(learner.network, progress.step)
        sanity.loss(loss, progress.step) if watched else check_finite(loss, progress.step)
        state.losses.append(loss)
        if progress.step == first + 1:
            # The first step waits for the start of the loader workers: leave it out of the measured speed.
            progress.mark()
        if settings.time and not progress.done and settings.time.is_due(progress):
            settings.time.fit(progress, _interval(progress.total, settings))
        if progress.done or progress.step % _interval(progress.total, settings) == 0:
            _validate(learner, state, metrics, settings)
        if settings.listener:
            settings.listener(report(learner, state, loss))
        if settings.stop_requested() or time.monotonic() - saved_at > settings.checkpoint_seconds:
            save_progress(learner, state, settings.folder, settings.identity)
            saved_at = time.monotonic()
            if settings.stop_requested():
                raise Interrupted


def report(learner: Learner, state: TrainingState, loss: float) -> Report:
    """Return the current state of training for listeners."""
    progress = state.progress
    seconds_each = progress.rate()
    return Report(
        step=progress.step,
        total=progress.total,
        loss=loss,
        learning_rate=learner.optimizer.param_groups[0]["lr"],
        validation_dice=state.last_dice,
        iterations_per_second=1.0 / max(seconds_each, 1e-9),
        seconds_left=(progress.total - progress.step) * seconds_each,
    )


def shortest_interval(patches: int, batch_size: int, learner: Learner) -> int:
    """Return the smallest interval in steps between validations on ``patches`` that respects :data:`VALIDATION_SHARE`.

    A schedule that depends on validation always gets :data:`SHORTEST_INTERVAL`: its learning rate must not depend on
    the cost of validation.
    """
    if isinstance(learner.schedule, WatchingSchedule):
        return SHORTEST_INTERVAL
    steps = patches / PATCHES_PER_SAMPLE / batch_size
    return max(SHORTEST_INTERVAL, math.ceil(steps / VALIDATION_SHARE))


def _interval(total: int, settings: LoopSettings) -> int:
    """Return the steps between validations; they depend on steps, not on time, so that runs are reproducible."""
    return max(settings.shortest_interval, total // VALIDATIONS)


def _validate(learner: Learner, state: TrainingState, metrics: MetricsFile, settings: LoopSettings) -> None:
    """Compute Dice on validation patches, save the best weights, write metrics, and fit the steps to the budget."""
    progress = state.progress
    progress.mark()
    begun = progress.tick()
    with weights_of(learner.network, learner.evaluation_weights()), learner.autocast():
        scores = settings.validate()
    seconds = progress.tick() - begun
    known = [score.dice for score in scores.values() if score.dice is not None]
    state.last_dice = sum(known) / len(known) if known else None
    if state.last_dice is not None:
        past = state.smoothed_dice
        now = state.last_dice
        state.smoothed_dice = now if past is None else SMOOTHING * past + (1 - SMOOTHING) * now
        if isinstance(learner.schedule, WatchingSchedule):
            learner.schedule.watch(progress.fraction, state.smoothed_dice)
        if state.smoothed_dice > state.best_dice:
            state.best_dice = state.smoothed_dice
            save_tensors(settings.folder.best, learner.final_weights())
    metrics.append(
        {
            "step": progress.step,
            "total": progress.total,
            "loss": sum(state.losses) / len(state.losses),
            "validation_dice": state.last_dice,
            "class_dice": {name: score.dice for name, score in scores.items()},
            "class_recall": {name: score.recall for name, score in scores.items()},
            "learning_rate": learner.optimizer.param_groups[0]["lr"],
            "seconds": round(progress.tick(), 1),
        }
    )
    warn_of_missed_classes(read_metrics(metrics.path))
    state.losses.clear()
    if settings.time:
        settings.time.look = seconds
        if not progress.done:
            settings.time.fit(progress, _interval(progress.total, settings))
    progress.mark()


def save_progress(learner: Learner, state: TrainingState, folder: FoldFolder, identity: Mapping[str, Any]) -> None:
    """Write a checkpoint; a training resumed from it continues bit for bit."""
    tensors = {f"network.{name}": tensor for name, tensor in learner.network.state_dict().items()}
    tensors |= optimizer_tensors(learner.optimizer)
    if learner.average:
        tensors |= {f"average.{name}": tensor for name, tensor in learner.average.tensors.items()}
    numbers = {
        "progress": state.progress.to_plain(),
        "smoothed_dice": state.smoothed_dice,
        "best_dice": state.best_dice,
        "last_dice": state.last_dice,
        "losses": state.losses,
        "identity": identity,
    }
    if isinstance(learner.schedule, WatchingSchedule):
        numbers["schedule"] = learner.schedule.state()
    save_state(folder.resume_state, tensors, numbers)


def restore_progress(learner: Learner, folder: FoldFolder, identity: Mapping[str, Any]) -> TrainingState | None:
    """Restore the learner from the last checkpoint and return its training state; None without a checkpoint.

    Raises :class:`TrainingError` if the settings of the checkpoint differ from ``identity``.
    """
    found = load_state(folder.resume_state)
    if found is None:
        return None
    tensors, numbers = found
    check_identity(folder.resume_state, numbers["identity"], identity)
    learner.network.load_state_dict(_part(tensors, "network."))
    restore_optimizer(learner.optimizer, tensors, source=folder.resume_state)
    if learner.average:
        for name, tensor in _part(tensors, "average.").items():
            learner.average.tensors[name].copy_(tensor)
    if isinstance(learner.schedule, WatchingSchedule):
        learner.schedule.restore(numbers["schedule"])
    return TrainingState(
        progress=TrainingProgress(**numbers["progress"]),
        smoothed_dice=numbers["smoothed_dice"],
        best_dice=numbers["best_dice"],
        last_dice=numbers["last_dice"],
        losses=list(numbers["losses"]),
    )


def check_identity(path: Path, found: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Raise :class:`TrainingError` if the settings ``found`` in checkpoint ``path`` differ from ``identity``."""
    changed = [key for key, value in identity.items() if found.get(key) != value]
    if changed:
        raise TrainingError(
            f"{path}: this fold was started with another {' and '.join(changed)}; "
            "continue with the same value, or start again with --restart"
        )


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
