"""Rehearsal: time of a training step and of predictions, measured on the network before training starts."""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from autoseg.inference.sliding_window import tiles_per_forward
from autoseg.learning.averaging import weights_of
from autoseg.learning.learner import Learner, learning_step
from autoseg.learning.loader import PatchSource
from autoseg.learning.validation.tiles import Tiles
from autoseg.system.processors import own_cores

REHEARSED = 3
"""Number of timed steps, and of timed predictions; one untimed warm-up run precedes them."""
REHEARSED_SHARE = 0.15
"""Largest share of the time budget for the timed runs of each kind. If the warm-up run takes more than a third of it,
fewer runs are timed, or the time of the warm-up run is used."""


@dataclass(frozen=True)
class Rehearsal:
    """Seconds that parts of a training take."""

    step: float
    patch: float
    """Prediction of one training patch."""
    voxel: float
    """Prediction of a validation case, per voxel of its tiles."""


def rehearse(learner: Learner, source: PatchSource, case: Tiles | None = None, *, budget: float) -> Rehearsal:
    """Time a training step, the prediction of a patch, and that of the tiles of a ``case``, mirrored copies included.

    Network and optimizer are unchanged afterwards. Tiles are timed in the same batches as in prediction: a small patch
    stays in the processor's caches; a voxel of larger tiles, or of several at once, may take twice the time.
    """
    batch = source.to_device(source[0], learner.device)

    def step(index: int) -> None:
        learning_step(learner, source.to_device(source[index], learner.device), learner.schedule(0.0))

    with _undone(learner):
        seconds_of_step = _median_seconds(step, learner.device, budget=budget)
    image = batch.images[:1]
    patch = _prediction_seconds(learner, image, budget)
    count, size = case or (1, tuple(image.shape[2:]))
    together = min(count, tiles_per_forward(size, learner.device))
    tiles = image.new_zeros(together, image.shape[1], *size)
    seconds = patch if tiles.shape == image.shape else _prediction_seconds(learner, tiles, budget)
    return Rehearsal(seconds_of_step, patch, seconds / (together * math.prod(size)))


@contextmanager
def _undone(learner: Learner) -> Iterator[None]:
    """Restore the current state of network and optimizer at the end of the block."""
    weights = {name: tensor.clone() for name, tensor in learner.network.state_dict().items()}
    optimizer = copy.deepcopy(learner.optimizer.state_dict())
    try:
        yield
    finally:
        learner.network.load_state_dict(weights)
        learner.optimizer.zero_grad(set_to_none=True)
        learner.optimizer.load_state_dict(optimizer)


def _prediction_seconds(learner: Learner, images: torch.Tensor, budget: float) -> float:
    def predict(_: int) -> None:
        with weights_of(learner.network, None), torch.inference_mode(), own_cores(), learner.autocast():
            learner.network(images)

    return _median_seconds(predict, learner.device, budget=budget)


def _median_seconds(action: Callable[[int], None], device: torch.device, *, budget: float) -> float:
    """Return the median time of an action in seconds, after a warm-up; the action gets the number of the run."""
    warm_up = _seconds(action, 0, device)
    most = int(min(REHEARSED, REHEARSED_SHARE * budget / max(warm_up, 1e-9)))
    return statistics.median([_seconds(action, 1 + index, device) for index in range(most)] or [warm_up])


def _seconds(action: Callable[[int], None], index: int, device: torch.device) -> float:
    start = time.perf_counter()
    action(index)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
