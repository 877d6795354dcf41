"""The training loop: steps, precision, schedule, weight average, validation on patches, checkpoints."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from autoseg.errors import TrainingError
from autoseg.trainers.averaging import weights_of
from autoseg.trainers.checkpoint import load_state, optimizer_tensors, restore_optimizer, save_state
from autoseg.trainers.learner import Learner, learning_step
from autoseg.trainers.loader import Batch
from autoseg.trainers.missed_classes import warn_of_missed_classes
from autoseg.trainers.monitor import Listener, MetricsFile, Report
from autoseg.trainers.pace import Pace
from autoseg.trainers.plateau import WatchingSchedule
from autoseg.trainers.sanity import EARLY_STEPS, SanityCheck, check_finite
from autoseg.trainers.validation import PatchScore
from autoseg.training_log import read_metrics
from autoseg.weights import save_tensors
from autoseg.workspace import FoldFolder

if TYPE_CHECKING:
    from autoseg.trainers.budget import TimeBudget

logger = logging.getLogger("autoseg.training")

VALIDATIONS = 25
"""Validations on patches in a whole training."""
SHORTEST_INTERVAL = 50
"""Steps between validations at least."""
VALIDATION_SHARE = 0.04
"""Steps' worth of validations for each step at most, so that short trainings, too, spend their time on learning."""
PATCHES_PER_SAMPLE = 3
"""Patches that are predicted in the time in which one sample is learned from, forward and backward."""
SMOOTHING = 0.7
"""Weight of the past in the smoothed validation Dice that picks the best weights: patches are few and noisy."""


class Interrupted(Exception):  # noqa: N818 - not an error: the state is saved
    """Training was asked to stop; its state is saved."""


@dataclass
class Progress:
    """What changes while a fold trains, apart from weights."""

    pace: Pace
    smoothed_dice: float | None = None
    best_dice: float = -1.0
    last_dice: float | None = None
    losses: list[float] = field(default_factory=list)
    """Losses since the last line of the metrics file."""


@dataclass(frozen=True)
class LoopSettings:
    """What bounds the loop and who is told of it."""

    folder: FoldFolder
    classes: Mapping[str, tuple[int, ...]]
    """Label indices of each class."""
    validate: Callable[[], dict[str, PatchScore]]
    """Measures each class on validation patches with the network's present weights."""
    shortest_interval: int
    """Steps between validations at least."""
    time: TimeBudget | None
    """None where the number of steps is fixed."""
    stop_requested: Callable[[], bool]
    checkpoint_seconds: float
    """Work that a killed process loses at most."""
    identity: Mapping[str, Any]
    """What must be the same when the training is gone on with."""
    step_seed: Callable[[int], int]
    """Decides what a network draws in a step, such as what it drops: the same, wherever a run was interrupted."""
    listener: Listener | None = None


def run_loop(learner: Learner, progress: Progress, batches: Iterator[Batch], settings: LoopSettings) -> None:
    """Train to the end of the pace; raise :class:`Interrupted`, with the state saved, when asked to stop."""
    pace, metrics = progress.pace, MetricsFile(settings.folder.metrics, step=progress.pace.step)
    sanity = SanityCheck(settings.classes)
    saved_at, first = time.monotonic(), pace.step
    pace.mark()
    learner.network.train()
    while not pace.done:
        batch = next(batches)
        watched = pace.step < EARLY_STEPS
        if watched:
            sanity.batch(batch)
        torch.manual_seed(settings.step_seed(pace.step))
        loss = float(learning_step(learner, batch, learner.schedule(pace.progress)))
        pace.advance()
        if learner.average:
            learner.average.update(learner.network, pace.step)
        sanity.loss(loss, pace.step) if watched else check_finite(loss, pace.step)
        progress.losses.append(loss)
        if pace.step == first + 1:
            # It has waited for loader workers to start, and says nothing of the next ones' speed.
            pace.mark()
        if settings.time and not pace.done and settings.time.is_due(pace):
            settings.time.fit(pace, _interval(pace.total, settings))
        if pace.done or pace.step % _interval(pace.total, settings) == 0:
            _validate(learner, progress, metrics, settings)
        if settings.listener:
            settings.listener(report(learner, progress, loss))
        if settings.stop_requested() or time.monotonic() - saved_at > settings.checkpoint_seconds:
            save_progress(learner, progress, settings.folder, settings.identity)
            saved_at = time.monotonic()
            if settings.stop_requested():
                raise Interrupted


def report(learner: Learner, progress: Progress, loss: float) -> Report:
    """Describe where training stands."""
    pace = progress.pace
    seconds_each = pace.rate()
    return Report(
        step=pace.step,
        total=pace.total,
        loss=loss,
        learning_rate=learner.optimizer.param_groups[0]["lr"],
        validation_dice=progress.last_dice,
        iterations_per_second=1.0 / max(seconds_each, 1e-9),
        seconds_left=(pace.total - pace.step) * seconds_each,
    )


def shortest_interval(patches: int, batch_size: int, learner: Learner) -> int:
    """Return the steps between validations of ``patches`` that keep to :data:`VALIDATION_SHARE`, at least.

    A schedule that watches validations has them at the same steps whatever they cost, because they decide its rate.
    """
    if isinstance(learner.schedule, WatchingSchedule):
        return SHORTEST_INTERVAL
    steps = patches / PATCHES_PER_SAMPLE / batch_size
    return max(SHORTEST_INTERVAL, math.ceil(steps / VALIDATION_SHARE))


def _interval(total: int, settings: LoopSettings) -> int:
    """Return the steps between validations: by the schedule, not the clock, so that reruns are alike."""
    return max(settings.shortest_interval, total // VALIDATIONS)


def _validate(learner: Learner, progress: Progress, metrics: MetricsFile, settings: LoopSettings) -> None:
    """Compute Dice on validation patches, keep the best weights, write a line, and adapt the length to the budget."""
    pace = progress.pace
    pace.mark()
    begun = pace.tick()
    with weights_of(learner.network, learner.evaluation_weights()), learner.autocast():
        scores = settings.validate()
    seconds = pace.tick() - begun
    known = [score.dice for score in scores.values() if score.dice is not None]
    progress.last_dice = sum(known) / len(known) if known else None
    if progress.last_dice is not None:
        past = progress.smoothed_dice
        now = progress.last_dice
        progress.smoothed_dice = now if past is None else SMOOTHING * past + (1 - SMOOTHING) * now
        if isinstance(learner.schedule, WatchingSchedule):
            learner.schedule.watch(pace.progress, progress.smoothed_dice)
        if progress.smoothed_dice > progress.best_dice:
            progress.best_dice = progress.smoothed_dice
            save_tensors(settings.folder.best, learner.final_weights())
    metrics.append(
        {
            "step": pace.step,
            "total": pace.total,
            "loss": sum(progress.losses) / len(progress.losses),
            "validation_dice": progress.last_dice,
            "class_dice": {name: score.dice for name, score in scores.items()},
            "class_recall": {name: score.recall for name, score in scores.items()},
            "learning_rate": learner.optimizer.param_groups[0]["lr"],
            "seconds": round(pace.tick(), 1),
        }
    )
    warn_of_missed_classes(read_metrics(metrics.path))
    progress.losses.clear()
    if settings.time:
        settings.time.look = seconds
        if not pace.done:
            settings.time.fit(pace, _interval(pace.total, settings))
    pace.mark()


def save_progress(learner: Learner, progress: Progress, folder: FoldFolder, identity: Mapping[str, Any]) -> None:
    """Write a checkpoint from which the training continues bit for bit."""
    tensors = {f"network.{name}": tensor for name, tensor in learner.network.state_dict().items()}
    tensors |= optimizer_tensors(learner.optimizer)
    if learner.average:
        tensors |= {f"average.{name}": tensor for name, tensor in learner.average.tensors.items()}
    numbers = {
        "pace": progress.pace.to_plain(),
        "smoothed_dice": progress.smoothed_dice,
        "best_dice": progress.best_dice,
        "last_dice": progress.last_dice,
        "losses": progress.losses,
        "identity": identity,
    }
    if isinstance(learner.schedule, WatchingSchedule):
        numbers["schedule"] = learner.schedule.state()
    save_state(folder.resume_state, tensors, numbers)


def restore_progress(learner: Learner, folder: FoldFolder, identity: Mapping[str, Any]) -> Progress | None:
    """Give the learner the state of the last checkpoint; None if there is none.

    Raises :class:`TrainingError` where the checkpoint was made with other settings than ``identity``.
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
    return Progress(
        pace=Pace(**numbers["pace"]),
        smoothed_dice=numbers["smoothed_dice"],
        best_dice=numbers["best_dice"],
        last_dice=numbers["last_dice"],
        losses=list(numbers["losses"]),
    )


def check_identity(path: Path, found: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Raise :class:`TrainingError` where the checkpoint ``path`` was made with other settings."""
    changed = [key for key, value in identity.items() if found.get(key) != value]
    if changed:
        raise TrainingError(
            f"{path}: this fold was begun with another {' and '.join(changed)}; "
            "go on with the same, or begin anew with --restart"
        )


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
