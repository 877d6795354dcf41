"""How many steps a fold makes: as asked, or as many as fit into the time after a rehearsal."""

from __future__ import annotations

import logging
import math
import statistics
import time
from dataclasses import dataclass

import torch

from autoseg.inference.abutting import abutting_tiles
from autoseg.inference.sliding_window import Window
from autoseg.inference.tiles import mirrorings, padding, tile_starts
from autoseg.plan import Training
from autoseg.trainers.averaging import weights_of
from autoseg.trainers.learner import Learner
from autoseg.trainers.loader import PatchSource
from autoseg.trainers.loop import SHORTEST_INTERVAL, VALIDATIONS
from autoseg.trainers.validation import MOST_PATCHES, FoldValidation

logger = logging.getLogger("autoseg.training")

REHEARSED = 3
"""Steps that are timed; one more before them warms up."""
SECONDS_PER_CASE = 0.15
"""Reading, writing and measuring one validation case, beside the network's time."""
SAFETY = 0.98
"""Share of the time that is planned: machines are never quite even."""
SHORTEST_SHARE = 0.5
"""Share of the budget that is trained in any case, however long validation takes."""


@dataclass(frozen=True)
class Budget:
    """Length of a training."""

    iterations: int
    seconds: float | None = None
    """For the whole fold."""
    steps_end_at: float | None = None
    """Seconds after the start at which steps should end, so that validation fits in."""


def plan_budget(
    learner: Learner,
    source: PatchSource,
    validation: FoldValidation,
    *,
    iterations: int | None,
    seconds: float | None,
    training: Training,
    started: float,
) -> Budget:
    """Decide the number of steps: what the user asked for comes before what the plan says, steps before time.

    ``started`` is when the command began, by the monotonic clock.
    """
    if iterations is not None:
        return Budget(iterations)
    if seconds is None and training.iterations is not None:
        return Budget(training.iterations)
    seconds = seconds if seconds is not None else training.time_budget
    if seconds is None:
        raise ValueError("a plan has iterations or a time budget")
    step, patch = rehearse(learner, source)
    reserve = patch * validation_patches(validation) + SECONDS_PER_CASE * len(validation.cases)
    steps_end_at = max(seconds * SHORTEST_SHARE, (seconds - reserve) * SAFETY)
    if steps_end_at > seconds - reserve:
        logger.warning("validation takes about %.0f s, which does not fit into the time budget", reserve)
    spent = time.monotonic() - started
    return Budget(affordable_steps(steps_end_at - spent, step, MOST_PATCHES * patch), seconds, steps_end_at)


def affordable_steps(seconds: float, step: float, look: float) -> int:
    """Count the steps that fit into ``seconds`` together with their validations on patches.

    Short trainings are validated at a fixed interval, long ones a fixed number of times, whichever is rarer.
    """
    short = (seconds - look) / (step + look / SHORTEST_INTERVAL)
    long = (seconds - (VALIDATIONS + 1) * look) / step
    return max(1, int(max(short, long)))


def rehearse(learner: Learner, source: PatchSource) -> tuple[float, float]:
    """Time a training step and the prediction of one patch, in seconds; weights stay as they are."""
    steps, patches = [], []
    state = {name: tensor.clone() for name, tensor in learner.network.state_dict().items()}
    for index in range(1 + REHEARSED):
        start = time.perf_counter()
        batch = source.to_device(source[index], learner.device)
        with learner.autocast():
            loss = learner.mode.loss(learner.network, batch)
        loss.backward()
        learner.network.zero_grad(set_to_none=True)
        _finish(learner.device)
        steps.append(time.perf_counter() - start)
        start = time.perf_counter()
        with weights_of(learner.network, None), torch.inference_mode(), learner.autocast():
            learner.network(batch.images[:1])
        _finish(learner.device)
        patches.append(time.perf_counter() - start)
    learner.network.load_state_dict(state)
    return statistics.median(steps[1:]), statistics.median(patches[1:])


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _patches(space: tuple[int, ...], window: Window) -> int:
    """Count the patches that an image takes; tiles that abut are other patches, as many as have their voxels."""
    if window.abuts:
        tiles = abutting_tiles(space, window.patch, window.margin)
        return math.ceil(len(tiles.starts) * math.prod(tiles.patch) / math.prod(window.patch))
    padded = tuple(n + sum(pad) for n, pad in zip(space, padding(space, window.patch), strict=True))
    return len(tile_starts(padded, window.patch))


def validation_patches(validation: FoldValidation) -> int:
    """Count the patches that predicting the validation cases takes, mirrored copies included."""
    window = validation.window
    axes = len(window.patch)
    total = 0
    for index in range(len(validation.cases)):
        shape = validation.cases[index].shape
        space = shape[3 - axes :]
        total += _patches(space, window) * (shape[0] if axes == 2 else 1)
    return total * len(mirrorings(window.mirror_axes))
