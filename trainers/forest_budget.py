"""How many trees a forest has, and of how many voxels each is made: as asked, or what fits into the time."""

from __future__ import annotations

import bisect
import logging
import math
import statistics
import time
from dataclasses import dataclass

import torch

from autoseg.networks.box_features import Boxes, block_features, integral_image
from autoseg.networks.build import input_channels
from autoseg.networks.decision_trees import joined, summed_shares
from autoseg.networks.random_forest import BLOCKS, blocks
from autoseg.plan import voxels as voxels_of
from autoseg.trainers.budget import SAFETY, SECONDS_PER_CASE, SHORTEST_SHARE
from autoseg.trainers.forest_trees import grow_tree
from autoseg.trainers.forest_voxels import Voxels
from autoseg.trainers.samples import fold_data
from autoseg.trainers.setting import Setting

logger = logging.getLogger("autoseg.training")

TREES = 50
"""Trees of a forest (Kamnitsas 2019, 3.4.1)."""
REHEARSED = 5_000
"""Voxels of a tree that is grown only to time it."""
ASKED = math.prod(BLOCKS[3])
"""Voxels that it is asked about, as many as prediction has in a block."""
REHEARSED_BLOCKS = 3
"""Blocks of voxels that are described only to time it."""
FEWEST = 10_000
"""Voxels of a tree at least: with fewer, fewer trees are the better way to save time."""
PLANNED_SHARE = 0.9
"""Share of the time that trees are planned with: those that grow beside each other slow each other down."""


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
class Costs:
    """Seconds that parts of a training take, and how much there is of them."""

    growing: float
    """Of each of the n voxels of a tree, and each of log2(n) questions that it is asked."""
    asking: float
    """Of each voxel that a tree is asked about, and each question."""
    describing: float
    """Of the features of each voxel."""
    predicted: int
    """Voxels of the validation cases, all of which are predicted at the end."""
    cases: int

    def tree(self, sample: int) -> float:
        """Return what growing a tree of ``sample`` voxels takes, on one thread."""
        return self.growing * sample * math.log2(sample)

    def answers(self, sample: int) -> float:
        """Return what it takes at the end to ask one such tree."""
        return self.asking * self.predicted * math.log2(sample)

    @property
    def end(self) -> float:
        """What the end takes whatever the number of trees."""
        return self.describing * self.predicted + SECONDS_PER_CASE * self.cases


FREE = Costs(0.0, 0.0, 0.0, 0, 0)
"""Where nothing bounds the time, nothing is timed."""


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
    end: float
    """Seconds that the end takes whatever the number of trees."""
    answers: float
    """Seconds that it takes to ask one tree at the end."""

    def seconds_each(self, done: int) -> float:
        """Return the time that a tree takes, or 0 before this run has grown one."""
        return (time.monotonic() - self.began) / (done - self.first) if done > self.first else 0.0

    def trees(self, done: int) -> int:
        """Return how many trees the forest will have, ``done`` of which are grown."""
        each = self.seconds_each(done)
        if self.clock.limit is None or not each:
            return max(self.planned, done)
        fitting = (self.clock.left() - self.end - done * self.answers) / (each + self.answers)
        in_any_case = (self.clock.limit * SHORTEST_SHARE - self.clock.spent()) / each
        more = max(0, math.floor(max(fitting, in_any_case)))
        return max(done, 1, min(self.planned, done + more))


def forest_clock(setting: Setting, *, earlier: float, started: float) -> Clock:
    """Return the time of a fold: a number of trees that is asked for comes before time."""
    request = setting.request
    limit = request.time_budget if request.time_budget is not None else setting.configuration.training.time_budget
    return Clock(None if request.iterations is not None else limit, earlier, started)


def plan_forest(setting: Setting, costs: Costs, clock: Clock, *, sample: int, first: int) -> ForestBudget:
    """Plan the length of a training of which ``first`` trees are grown, and which begins to grow others now."""
    return ForestBudget(clock, trees_wanted(setting), first, time.monotonic(), costs.end, costs.answers(sample))


def trees_wanted(setting: Setting) -> int:
    """Return how many trees a forest has where there is time for them."""
    return TREES if setting.request.iterations is None else setting.request.iterations


def rehearse(setting: Setting, boxes: Boxes, voxels: Voxels, clock: Clock) -> Costs:
    """Time each part of a training whose time is bounded; trees are grown on ``voxels``."""
    if clock.limit is None:
        return FREE
    axes, channels = setting.configuration.dimension, input_channels(setting.configuration, setting.dataset)
    cases = fold_data(setting, setting.split.val)
    predicted = sum(voxels_of(cases[index].shape) for index in range(len(cases)))
    describing = seconds_to_describe(boxes, cases[0].shape[3 - axes :], channels) if len(cases) else 0.0
    growing, asking = seconds_of_a_tree(voxels, labels=len(setting.dataset.values) + 1)
    return Costs(growing, asking, describing, predicted, len(cases))


def seconds_of_a_tree(voxels: Voxels, *, labels: int) -> tuple[float, float]:
    """Time growing a tree and asking it, for each voxel and question."""
    features = voxels.features[:, :ASKED].contiguous()
    # The first has scikit-learn loaded, which would be taken for the time of a far larger tree.
    for sample in (1, REHEARSED):
        begun = time.perf_counter()
        tree = grow_tree(voxels, labels=labels, sample=sample, seed=(0,))
        grown = time.perf_counter()
        # As many trees at once as prediction asks, which takes less for each than one alone.
        summed_shares(joined([tree] * TREES), features)
        asked = time.perf_counter()
    questions = math.log2(REHEARSED)
    return (grown - begun) / REHEARSED / questions, (asked - grown) / TREES / features.shape[1] / questions


def seconds_to_describe(boxes: Boxes, space: tuple[int, ...], channels: int) -> float:
    """Time the features of a voxel of an image of a size, whatever is in it."""
    image = torch.zeros(channels, *space)
    block = next(blocks(space))
    seconds = []
    # The first time warms up.
    for _ in range(1 + REHEARSED_BLOCKS):
        begun = time.perf_counter()
        block_features(boxes, integral_image(image), block)
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds[1:]) / math.prod(part.stop - part.start for part in block)


def tree_voxels(count: int, costs: Costs, clock: Clock, *, trees: int, threads: int) -> int:
    """Return how many of ``count`` voxels that were drawn a tree is grown on: all, or fewer where time is short."""
    if clock.limit is None or count <= FEWEST:
        return count
    room = PLANNED_SHARE * (clock.left() - costs.end)

    def seconds(sample: int) -> float:
        return trees * (costs.tree(sample) / threads + costs.answers(sample))

    sample = FEWEST + bisect.bisect_right(range(FEWEST + 1, count + 1), room, key=seconds)
    if sample < count:
        logger.info("trees are grown on %d of %d voxels each, because time is short", sample, count)
    return sample
