"""Number of trees of a forest and of voxels per tree: fixed, or as many as fit into a time budget."""

from __future__ import annotations

import bisect
import logging
import math
import statistics
import time
from dataclasses import dataclass

import torch

from autoseg.learning.budget import SAFETY, SECONDS_PER_CASE, SHORTEST_SHARE
from autoseg.learning.samples import fold_data
from autoseg.learning.setting import Setting
from autoseg.networks.box_features import Boxes, block_features, integral_image
from autoseg.networks.decision_trees import joined, summed_shares
from autoseg.networks.random_forest import BLOCKS, blocks
from autoseg.plan.schema import voxels as voxels_of
from autoseg.preprocessing.channel_layout import channel_layout
from autoseg.trainers.forest.trees import grow_tree
from autoseg.trainers.forest.voxels import Voxels

logger = logging.getLogger("autoseg.training")

TREES = 50
"""Number of trees of a forest (Kamnitsas 2019, 3.4.1)."""
REHEARSED = 5_000
"""Training voxels of the tree that is grown to measure the time."""
ASKED = math.prod(BLOCKS[3])
"""Largest number of voxels that this tree predicts: one block, as in prediction."""
REHEARSED_BLOCKS = 3
"""Number of blocks whose features are computed to measure the time."""
FEWEST = 10_000
"""Smallest number of training voxels of a tree; to save more time, fewer trees are grown instead."""
PLANNED_SHARE = 0.9
"""Share of the remaining time that is planned for trees: trees that grow in parallel slow each other down."""


@dataclass(frozen=True)
class Clock:
    """Time of a fold in seconds: its limit (or None), the time spent by earlier runs, and the start of this run."""

    limit: float | None
    earlier: float
    started: float

    def spent(self) -> float:
        """Return the seconds spent by all runs so far."""
        return self.earlier + time.monotonic() - self.started

    def left(self) -> float:
        """Return the remaining seconds for planning; infinity without a limit."""
        return math.inf if self.limit is None else self.limit * SAFETY - self.spent()


@dataclass(frozen=True)
class Costs:
    """Measured times of the parts of a training, and the amount of validation."""

    growing: float
    """Seconds to grow a tree, per training voxel and decision: n voxels with log2(n) decisions each."""
    asking: float
    """Seconds of a tree's prediction, per voxel and decision."""
    describing: float
    """Seconds to compute the features of a voxel."""
    predicted: int
    """Number of voxels of the validation cases, which are all predicted at the end."""
    cases: int

    def tree(self, sample: int) -> float:
        """Return the seconds to grow a tree on ``sample`` voxels, on one thread."""
        return self.growing * sample * math.log2(sample)

    def answers(self, sample: int) -> float:
        """Return the seconds for one such tree to predict all validation cases."""
        return self.asking * self.predicted * math.log2(sample)

    @property
    def end(self) -> float:
        """Seconds of validation that do not depend on the number of trees."""
        return self.describing * self.predicted + SECONDS_PER_CASE * self.cases


FREE = Costs(0.0, 0.0, 0.0, 0, 0)
"""Costs without a time limit: nothing is measured."""


@dataclass(frozen=True)
class ForestBudget:
    """Length of a training in trees, updated from the measured speed."""

    clock: Clock
    planned: int
    """Number of trees if the time suffices."""
    first: int
    """Number of trees from earlier runs."""
    began: float
    """Time when this run started to grow trees, on the monotonic clock."""
    end: float
    """Seconds of validation that do not depend on the number of trees."""
    answers: float
    """Seconds for one tree to predict all validation cases."""

    def seconds_each(self, done: int) -> float:
        """Return the seconds per tree, or 0 before this run has grown one."""
        return (time.monotonic() - self.began) / (done - self.first) if done > self.first else 0.0

    def trees(self, done: int) -> int:
        """Return the total number of trees that fit into the time; ``done`` of them are already grown."""
        each = self.seconds_each(done)
        if self.clock.limit is None or not each:
            return max(self.planned, done)
        fitting = (self.clock.left() - self.end - done * self.answers) / (each + self.answers)
        in_any_case = (self.clock.limit * SHORTEST_SHARE - self.clock.spent()) / each
        more = max(0, math.floor(max(fitting, in_any_case)))
        return max(done, 1, min(self.planned, done + more))


def forest_clock(setting: Setting, *, earlier: float, started: float) -> Clock:
    """Return the clock of a fold; a requested number of trees overrides a time budget."""
    request = setting.request
    limit = request.time_budget if request.time_budget is not None else setting.configuration.training.time_budget
    return Clock(None if request.iterations is not None else limit, earlier, started)


def plan_forest(setting: Setting, costs: Costs, clock: Clock, *, sample: int, first: int) -> ForestBudget:
    """Plan the length of a training that starts to grow trees now; ``first`` trees exist from earlier runs."""
    return ForestBudget(clock, trees_wanted(setting), first, time.monotonic(), costs.end, costs.answers(sample))


def trees_wanted(setting: Setting) -> int:
    """Return the number of trees of a forest if the time suffices."""
    return TREES if setting.request.iterations is None else setting.request.iterations


def rehearse(setting: Setting, boxes: Boxes, voxels: Voxels, clock: Clock) -> Costs:
    """Measure the time of each part of a training with a time limit; the timed tree is grown on ``voxels``."""
    if clock.limit is None:
        return FREE
    axes, channels = setting.configuration.dimension, channel_layout(setting.configuration, setting.dataset).inputs
    cases = fold_data(setting, setting.split.val)
    predicted = sum(voxels_of(cases[index].shape) for index in range(len(cases)))
    describing = seconds_to_describe(boxes, cases[0].shape[3 - axes :], channels) if len(cases) else 0.0
    growing, asking = seconds_of_a_tree(voxels, labels=len(setting.dataset.values) + 1)
    return Costs(growing, asking, describing, predicted, len(cases))


def seconds_of_a_tree(voxels: Voxels, *, labels: int) -> tuple[float, float]:
    """Return the seconds to grow a tree, and those of its prediction, both per voxel and decision."""
    features = voxels.features[:, :ASKED].contiguous()
    # The first run loads scikit-learn; this time must not count as growing.
    for sample in (1, REHEARSED):
        begun = time.perf_counter()
        tree = grow_tree(voxels, labels=labels, sample=sample, seed=(0,))
        grown = time.perf_counter()
        # Predict with as many trees at once as a real forest: this takes less time per tree than a single tree.
        summed_shares(joined([tree] * TREES), features)
        asked = time.perf_counter()
    questions = math.log2(REHEARSED)
    return (grown - begun) / REHEARSED / questions, (asked - grown) / TREES / features.shape[1] / questions


def seconds_to_describe(boxes: Boxes, space: tuple[int, ...], channels: int) -> float:
    """Return the seconds to compute the features of a voxel, in an image of zeros of size ``space``."""
    image = torch.zeros(channels, *space)
    block = next(blocks(space))
    seconds = []
    # The first run is a warm-up.
    for _ in range(1 + REHEARSED_BLOCKS):
        begun = time.perf_counter()
        block_features(boxes, integral_image(image), block)
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds[1:]) / math.prod(part.stop - part.start for part in block)


def tree_voxels(count: int, costs: Costs, clock: Clock, *, trees: int, threads: int) -> int:
    """Return the number of training voxels of a tree: all ``count`` drawn voxels, or fewer if time is short."""
    if clock.limit is None or count <= FEWEST:
        return count
    room = PLANNED_SHARE * (clock.left() - costs.end)

    def seconds(sample: int) -> float:
        return trees * (costs.tree(sample) / threads + costs.answers(sample))

    sample = FEWEST + bisect.bisect_right(range(FEWEST + 1, count + 1), room, key=seconds)
    if sample < count:
        logger.info("trees are grown on %d of %d voxels each, because time is short", sample, count)
    return sample
