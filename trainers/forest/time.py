"""Number of voxels on which each tree of a forest is grown: fewer if the time is short."""

from __future__ import annotations

import bisect
import logging
import math
import statistics
import time
from dataclasses import dataclass

import torch

from autoseg.learning.budget import SECONDS_PER_CASE
from autoseg.learning.trainer import Task
from autoseg.networks.box_features import Boxes, block_features, integral_image
from autoseg.networks.decision_trees import joined, summed_shares
from autoseg.networks.random_forest import BLOCKS, blocks
from autoseg.plan.schema import voxels as voxels_of
from autoseg.preprocessing.channel_layout import channel_layout
from autoseg.trainers.forest.material import Material
from autoseg.trainers.forest.trees import grow_tree
from autoseg.trainers.forest.voxels import Voxels

logger = logging.getLogger("autoseg.training")

TOGETHER = 50
"""Number of trees that predict together in the measurement."""
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


def voxels_in_time(task: Task, material: Material, *, trees: int, threads: int) -> int:
    """Return the number of voxels on which each tree is grown: all drawn ones, or fewer if the time is short."""
    fold, count = task.fold, len(material.learnt.voxels.labels)
    if fold is None or math.isinf(fold.seconds_left()) or count <= FEWEST:
        return count
    costs = _measured(task, material)
    sample = tree_voxels(count, costs, fold.seconds_left(), trees=trees, threads=threads)
    if sample < count:
        logger.info("trees are grown on %d of %d voxels each, because time is short", sample, count)
    return sample


def tree_voxels(count: int, costs: Costs, seconds_left: float, *, trees: int, threads: int) -> int:
    """Return how many of ``count`` voxels let ``trees`` trees grow and predict in the time; at least a few."""
    if count <= FEWEST:
        return count
    room = PLANNED_SHARE * (seconds_left - costs.end)

    def seconds(sample: int) -> float:
        return trees * (costs.tree(sample) / threads + costs.answers(sample))

    return FEWEST + bisect.bisect_right(range(FEWEST + 1, count + 1), room, key=seconds)


def _measured(task: Task, material: Material) -> Costs:
    """Measure the time of each part of a training; the timed tree is grown on the drawn voxels."""
    if task.fold is None:
        raise ValueError("the task has no fold")
    axes, channels = task.configuration.dimension, channel_layout(task.configuration, task.dataset).inputs
    cases = task.fold.open_cases(task.fold.val)
    predicted = sum(voxels_of(cases[index].shape) for index in range(len(cases)))
    describing = seconds_to_describe(material.boxes, cases[0].shape[3 - axes :], channels) if len(cases) else 0.0
    growing, asking = seconds_of_a_tree(material.learnt.voxels, labels=material.labels)
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
        summed_shares(joined([tree] * TOGETHER), features)
        asked = time.perf_counter()
    questions = math.log2(REHEARSED)
    return (grown - begun) / REHEARSED / questions, (asked - grown) / TOGETHER / features.shape[1] / questions


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
