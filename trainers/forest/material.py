"""Voxels of a fold with their features, on which trees are grown and judged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from autoseg.errors import TrainingError
from autoseg.learning.trainer import Task
from autoseg.networks.box_features import Boxes
from autoseg.networks.decision_trees import Trees
from autoseg.preprocessing.channel_layout import channel_layout
from autoseg.system.memory import available_memory
from autoseg.trainers.forest.scores import Told
from autoseg.trainers.forest.trees import in_bag
from autoseg.trainers.forest.voxels import Voxels, draw_voxels

SHARE_FOR_FEATURES = 0.2
"""Largest share of the free memory for features; scikit-learn and the cases need the rest."""


@dataclass
class Material:
    """Data for growing and judging trees."""

    boxes: Boxes
    learnt: Told
    """Out-of-bag predictions: those of each tree for the training voxels on which it was not grown."""
    watched: Told
    """Predictions for voxels of the validation cases."""
    seed: tuple[int, int]
    drawn: int
    """Number of voxels that were to be drawn from all training cases."""

    @property
    def labels(self) -> int:
        """Number of labels, the background included."""
        return self.learnt.shares.shape[1]

    def tree_seed(self, number: int) -> tuple[int, ...]:
        """Return the seed of tree ``number``; it determines the whole tree."""
        return (*self.seed, 3, number)

    def judge(self, number: int, tree: Trees, sample: int) -> None:
        """Add a tree's predictions for its out-of-bag voxels and for the validation voxels."""
        drawn = in_bag(self.learnt.voxels, sample=sample, seed=self.tree_seed(number))
        self.learnt.add(tree, of=~drawn)
        self.watched.add(tree)

    def forget(self) -> None:
        """Remove the predictions of all trees."""
        self.learnt, self.watched = (Told.nothing(told.voxels, self.labels) for told in (self.learnt, self.watched))


def fold_material(task: Task, boxes: Boxes, *, labels: int, drawn: int, watched: int) -> Material:
    """Draw the voxels of training and validation cases, and compute their features.

    Raises :class:`TrainingError` if all voxels of the training cases are ignored.
    """
    fold, configuration = task.fold, task.configuration
    if fold is None:
        raise ValueError("the task has no fold")
    previous = channel_layout(configuration, task.dataset).previous_labels

    def told(names: tuple[str, ...], count: int, purpose: int) -> Told:
        voxels = draw_voxels(
            fold.open_cases(names),
            boxes,
            count=count,
            seed=(*fold.seed, purpose),
            dimension=configuration.dimension,
            previous_labels=previous,
        )
        return Told.nothing(voxels, labels)

    learnt = told(fold.train, drawn, 0)
    if not len(learnt.voxels.labels):
        raise TrainingError("random forest: all voxels of the training cases are ignored; label some voxels")
    return Material(boxes, learnt, told(fold.val, watched, 1), fold.seed, drawn)


def blank_material(boxes: Boxes, *, labels: int, drawn: int, watched: int) -> Material:
    """Return random voxels of the same number and size, to measure a step."""
    rng = np.random.default_rng(0)

    def told(count: int) -> Told:
        features = torch.from_numpy(rng.standard_normal((len(boxes), count), dtype=np.float32))
        return Told.nothing(Voxels(features, rng.integers(labels, size=count), np.ones(count)), labels)

    return Material(boxes, told(drawn), told(watched), (0, 0), drawn)


def room_for(features: int) -> int:
    """Return the number of voxels whose features fit into memory."""
    return int(available_memory() * SHARE_FOR_FEATURES / (torch.float32.itemsize * features))
