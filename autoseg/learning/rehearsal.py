"""Rehearsal: time of a training step and of predictions, measured on the network before training starts."""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from autoseg.files.weights import fill
from autoseg.inference.sliding_window import tiles_per_forward
from autoseg.learning.averaging import weights_of
from autoseg.learning.learner import Learner, learning_step
from autoseg.learning.patches import Sources
from autoseg.learning.trainer import Grows, Step
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
    """Prediction of a validation case, per voxel of its tiles; 0 without validation cases."""


def rehearse(learner: Learner, sources: Sources, case: Tiles | None = None, *, budget: float) -> Rehearsal:
    """Time a training step, the prediction of a patch, and that of the tiles of a ``case``, mirrored copies included.

    Modules and optimizers are unchanged afterwards. Tiles are timed in the same batches as in prediction: a small patch
    stays in the processor's caches; a voxel of larger tiles, or of several at once, may take twice the time.
    """

    def step(index: int) -> None:
        batches = sources.to_device(sources[index], learner.device)
        learning_step(learner, batches, Step(0, 0.0, np.random.default_rng(index)))

    network = learner.network
    with _undone(learner):
        if isinstance(learner.method, Grows):
            learner.method.prepare()
        seconds_of_step = _median_seconds(step, learner.device, budget=budget)
        if isinstance(learner.method, Grows):
            network = learner.method.grown()
    patch, shape = 0.0, torch.Size()
    if sources.streams:
        first = next(iter(sources.to_device(sources[0], learner.device).values()))
        patch, shape = _prediction_seconds(learner, network, first.images[:1], budget), first.images[:1].shape
    if case is None:
        return Rehearsal(seconds_of_step, patch, 0.0)
    count, size = case
    together = min(count, tiles_per_forward(size, learner.device))
    tiles = torch.zeros(together, learner.channels, *size, device=learner.device)
    seconds = patch if tiles.shape == shape else _prediction_seconds(learner, network, tiles, budget)
    return Rehearsal(seconds_of_step, patch, seconds / (together * math.prod(size)))


@contextmanager
def _undone(learner: Learner) -> Iterator[None]:
    """Restore the current state of all modules and optimizers at the end of the block."""
    modules, optimizers = learner.method.modules, learner.optimizers
    weights = {
        name: {key: tensor.clone() for key, tensor in module.state_dict().items()} for name, module in modules.items()
    }
    states = {name: copy.deepcopy(found.optimizer.state_dict()) for name, found in optimizers.items()}
    try:
        yield
    finally:
        for name, module in modules.items():
            fill(module, weights[name])
        for name, found in optimizers.items():
            found.optimizer.zero_grad(set_to_none=True)
            found.optimizer.load_state_dict(states[name])


def _prediction_seconds(learner: Learner, network: nn.Module, images: torch.Tensor, budget: float) -> float:
    def predict(_: int) -> None:
        with weights_of(network, None), torch.inference_mode(), own_cores(), learner.autocast():
            network(images)

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
