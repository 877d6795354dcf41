"""How many steps a fold makes: as asked, or as many as fit into the time after a rehearsal."""

from __future__ import annotations

import logging
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from autoseg.inference.abutting import abutting_tiles
from autoseg.inference.sliding_window import Window, tile_size, tiles_per_forward
from autoseg.inference.tiles import mirrorings, padding, tile_starts
from autoseg.plan import Training
from autoseg.trainers.averaging import weights_of
from autoseg.trainers.learner import Learner
from autoseg.trainers.loader import PatchSource
from autoseg.trainers.loop import SHORTEST_INTERVAL, VALIDATIONS
from autoseg.trainers.validation import MOST_PATCHES, FoldValidation

logger = logging.getLogger("autoseg.training")

REHEARSED = 3
"""Steps, and predictions, that are timed; one more before them warms up."""
SECONDS_PER_CASE = 0.15
"""Reading, writing and measuring one validation case, beside the network's time."""
SAFETY = 0.98
"""Share of the time that is planned: machines are never quite even."""
SHORTEST_SHARE = 0.5
"""Share of the budget that is trained in any case, however long validation takes."""

Tiles = tuple[int, tuple[int, ...]]
"""How many tiles a case takes, mirrored copies included, and the size of each."""


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
    tiles = validation_tiles(validation, learner.network)
    timed = rehearse(learner, source, median_tiles(tiles))
    voxels = sum(count * math.prod(size) for count, size in tiles)
    reserve = timed.voxel * voxels + SECONDS_PER_CASE * len(tiles)
    steps_end_at = max(seconds * SHORTEST_SHARE, (seconds - reserve) * SAFETY)
    if steps_end_at > seconds - reserve:
        logger.warning("validation takes about %.0f s, which does not fit into the time budget", reserve)
    spent = time.monotonic() - started
    return Budget(affordable_steps(steps_end_at - spent, timed.step, MOST_PATCHES * timed.patch), seconds, steps_end_at)


def affordable_steps(seconds: float, step: float, look: float) -> int:
    """Count the steps that fit into ``seconds`` together with their validations on patches.

    Short trainings are validated at a fixed interval, long ones a fixed number of times, whichever is rarer.
    """
    short = (seconds - look) / (step + look / SHORTEST_INTERVAL)
    long = (seconds - (VALIDATIONS + 1) * look) / step
    return max(1, int(max(short, long)))


@dataclass(frozen=True)
class Rehearsal:
    """Seconds that parts of a training take."""

    step: float
    patch: float
    """Predicting one patch as it is trained."""
    voxel: float
    """Predicting a validation case, for each voxel of its tiles."""


def rehearse(learner: Learner, source: PatchSource, case: Tiles | None = None) -> Rehearsal:
    """Time a training step and the prediction of a patch and of the tiles of a ``case``; weights stay.

    Tiles are timed as many at once as prediction takes: a voxel of larger ones, or of several, may take twice the time
    of one of a small patch, which stays in the processor's caches.
    """
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
        image = batch.images[:1]
        patches.append(_prediction_time(learner, image))
    patch = statistics.median(patches[1:])
    count, size = case or (1, tuple(image.shape[2:]))
    together = min(count, tiles_per_forward(size, learner.device))
    tiles = image.new_zeros(together, image.shape[1], *size)
    seconds = patch
    if tiles.shape != image.shape:
        seconds = statistics.median([_prediction_time(learner, tiles) for _ in range(1 + REHEARSED)][1:])
    learner.network.load_state_dict(state)
    return Rehearsal(statistics.median(steps[1:]), patch, seconds / (together * math.prod(size)))


def _prediction_time(learner: Learner, image: torch.Tensor) -> float:
    start = time.perf_counter()
    with weights_of(learner.network, None), torch.inference_mode(), learner.autocast():
        learner.network(image)
    _finish(learner.device)
    return time.perf_counter() - start


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def validation_tiles(validation: FoldValidation, network: nn.Module) -> list[Tiles]:
    """Count for each validation case the tiles that it takes, mirrored copies included, and tell their size.

    Tiles that abut fit each case; others are patches, grown where that saves several.
    """
    window = validation.window
    copies = len(mirrorings(window.mirror_axes))
    found = []
    for index in range(len(validation.cases)):
        shape = validation.cases[index].shape
        images = shape[0] * copies if len(window.patch) == 2 else copies
        count, size = _tiles(shape[3 - len(window.patch) :], window, network)
        found.append((count * images, size))
    return found


def _tiles(space: tuple[int, ...], window: Window, network: nn.Module) -> Tiles:
    if window.abuts:
        tiles = abutting_tiles(space, window.patch, window.margin, divisor=network.divisor)  # type: ignore[arg-type]
        return len(tiles.starts), tiles.patch
    patch = tile_size(network, space, window.patch)
    padded = tuple(n + sum(pad) for n, pad in zip(space, padding(space, patch), strict=True))
    return len(tile_starts(padded, patch)), patch


def median_tiles(tiles: Sequence[Tiles]) -> Tiles | None:
    """Return those in the middle by the size of one; None without a case."""
    by_size = sorted(tiles, key=lambda case: math.prod(case[1]))
    return by_size[len(by_size) // 2] if by_size else None
