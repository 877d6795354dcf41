"""How many trees a forest has, and of how many voxels each is made: as asked, or what fits into the time."""

from __future__ import annotations

import bisect
import logging
import math
import time
from dataclasses import dataclass

import torch

from autoseg.networks.box_features import Boxes, block_features, integral_image
from autoseg.networks.build import input_channels
from autoseg.networks.random_forest import blocks
from autoseg.plan import voxels as voxels_of
from autoseg.trainers.budget import SAFETY, SECONDS_PER_CASE, SHORTEST_SHARE
from autoseg.trainers.forest_scores import Told
from autoseg.trainers.forest_trees import grow_tree
from autoseg.trainers.samples import fold_data
from autoseg.trainers.setting import Setting

logger = logging.getLogger("autoseg.training")

TREES = 50
"""Trees of a forest (Kamnitsas 2019, 3.4.1)."""
REHEARSED = 5_000
"""Voxels of a tree that is grown only to time it."""
FEWEST = 10_000
"""Voxels of a tree at least: with fewer, fewer trees are the better way to save time."""
SHARE_FOR_GROWING = 0.5
"""Share of the time, without what features take, that is planned for growing trees; predicting takes about as much."""


@dataclass(frozen=True)
class Clock:
    """The time of a fold: seconds for all of it, or None, and those that earlier runs of the command spent."""

    limit: float | None
    earlier: float
    started: float

    def spent(self) -> float:
        """Return the seconds of all runs so far."""
        return self.earlier + time.monotonic() - self.started

    def left(self) -> float:
        """Return the seconds that may still be planned with."""
        return math.inf if self.limit is None else self.limit * SAFETY - self.spent()


@dataclass(frozen=True)
class ForestBudget:
    """Length of a training, measured anew as it goes on."""

    clock: Clock
    planned: int
    """Trees, if there is time for them."""
    first: int
    """Trees that earlier runs have grown."""
    began: float
    """When this run began to grow trees, by the monotonic clock."""
    predicted: int
    """Voxels of the validation cases, all of which are predicted at the end."""
    cases: int
    describing: float
    """Seconds that the features of a voxel take."""
    watched: Told

    def seconds_each(self, done: int) -> float:
        """Return the time that a tree takes, or 0 before this run has grown one."""
        return (time.monotonic() - self.began) / (done - self.first) if done > self.first else 0.0

    def trees(self, done: int) -> int:
        """Return how many trees the forest will have, ``done`` of which are grown."""
        each = self.seconds_each(done)
        if self.clock.limit is None or not each:
            return max(self.planned, done)
        asked = max(1, done * len(self.watched.trees))
        predicting = self.predicted * self.watched.seconds * done / asked
        reserve = self.predicted * self.describing + SECONDS_PER_CASE * self.cases + done * predicting
        fitting = (self.clock.left() - reserve) / (each + predicting)
        in_any_case = (self.clock.limit * SHORTEST_SHARE - self.clock.spent()) / each
        more = max(0, math.floor(max(fitting, in_any_case)))
        return max(done, 1, min(self.planned, done + more))


def forest_clock(setting: Setting, *, earlier: float, started: float) -> Clock:
    """Return the time of a fold: a number of trees that is asked for comes before time."""
    request = setting.request
    limit = request.time_budget if request.time_budget is not None else setting.configuration.training.time_budget
    return Clock(None if request.iterations is not None else limit, earlier, started)


def plan_forest(setting: Setting, boxes: Boxes, watched: Told, clock: Clock, *, first: int) -> ForestBudget:
    """Plan the length of a training of which ``first`` trees are grown, and which begins to grow others now."""
    axes, channels = setting.configuration.dimension, input_channels(setting.configuration, setting.dataset)
    cases = fold_data(setting, setting.split.val)
    predicted = sum(voxels_of(cases[index].shape) for index in range(len(cases)))
    planned = TREES if setting.request.iterations is None else setting.request.iterations
    describing = seconds_to_describe(boxes, cases[0].shape[3 - axes :], channels) if len(cases) else 0.0
    return ForestBudget(clock, planned, first, time.monotonic(), predicted, len(cases), describing, watched)


def seconds_to_describe(boxes: Boxes, space: tuple[int, ...], channels: int) -> float:
    """Time the features of a voxel of an image of a size, whatever is in it."""
    image = torch.zeros(channels, *space)
    block = next(blocks(space))
    seconds = []
    # The first time warms up.
    for _ in range(2):
        begun = time.perf_counter()
        block_features(boxes, integral_image(image), block)
        seconds.append(time.perf_counter() - begun)
    return min(seconds) / math.prod(part.stop - part.start for part in block)


def tree_voxels(learnt: Told, clock: Clock, *, trees: int, threads: int) -> int:
    """Return how many voxels a tree is grown on: as many as were drawn, or fewer where time is short."""
    count, labels = len(learnt.voxels.labels), learnt.shares.shape[1]
    if clock.limit is None or count <= FEWEST:
        return count
    # The first has scikit-learn loaded, which would be taken for the time of a far larger tree.
    for rehearsed in (1, REHEARSED):
        begun = time.perf_counter()
        grow_tree(learnt.voxels, labels=labels, sample=rehearsed, seed=(0,))
    each = (time.perf_counter() - begun) / (REHEARSED * math.log2(REHEARSED))
    room = SHARE_FOR_GROWING * clock.left() * threads / trees
    # A tree takes about n log n.
    more = bisect.bisect_right(range(FEWEST + 1, count + 1), room, key=lambda n: each * n * math.log2(n))
    sample = FEWEST + more
    if sample < count:
        logger.info("trees are grown on %d of %d voxels each, because time is short", sample, count)
    return sample
