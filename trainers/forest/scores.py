"""Quality of a random forest while it grows: predictions of its trees for voxels outside their training samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from autoseg.learning.patch_score import PatchScore
from autoseg.networks.decision_trees import Trees, summed_shares
from autoseg.networks.random_forest import LEAST, class_logits
from autoseg.trainers.forest.voxels import Voxels

CORRECTIONS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Tested strengths of the correction for class frequencies. 0 keeps the balanced frequencies of the training voxels, 1
uses the frequencies of whole images. With values in between, small classes are neither missed nor overestimated."""


@dataclass
class Told:
    """Sums of predictions of trees for voxels: ``shares`` [N,labels]; ``trees`` [N] counts the trees per voxel."""

    voxels: Voxels
    shares: torch.Tensor
    trees: torch.Tensor

    @classmethod
    def nothing(cls, voxels: Voxels, labels: int) -> Told:
        """Return empty sums, without any tree."""
        return cls(voxels, torch.zeros(len(voxels.labels), labels), torch.zeros(len(voxels.labels)))

    def add(self, tree: Trees, *, of: np.ndarray | None = None) -> None:
        """Add the predictions of a tree for the voxels ``of`` [N] bool, or for all."""
        asked = torch.ones(len(self.trees)) if of is None else torch.from_numpy(of).float()
        self.shares += summed_shares(tree, self.voxels.features) * asked[:, None]
        self.trees += asked

    def mean(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean shares of the voxels with at least one prediction, and a mask [N] of these voxels."""
        known = self.trees > 0
        return self.shares[known] / self.trees[known, None], known

    def cross_entropy(self) -> float:
        """Return the mean negative logarithm of the true label's share over the voxels; 0 without voxels."""
        shares, known = self.mean()
        labels = torch.from_numpy(self.voxels.labels)[known]
        if not len(labels):
            return 0.0
        true = shares.gather(1, labels[:, None]).clamp_min(LEAST)
        return float(-true.log().mean())

    def scores(self, bias: torch.Tensor, classes: Sequence[Sequence[int]], *, regions: bool) -> list[PatchScore]:
        """Measure each class, given by its label indices; the weights of the voxels estimate whole images."""
        shares, known = self.mean()
        labels, weights = self.voxels.labels[known.numpy()], self.voxels.weights[known.numpy()]
        logits = class_logits(shares, bias, classes if regions else None)
        winner = logits.argmax(1).numpy()
        found = []
        for number, indices in enumerate(classes):
            predicted = (logits[:, number] > 0).numpy() if regions else winner == number + 1
            expected = np.isin(labels, indices)
            both, there = weights[predicted & expected].sum(), weights[expected].sum()
            size = weights[predicted].sum() + there
            found.append(PatchScore(float(2 * both / size) if size else None, float(both / there) if there else None))
        return found


def fitting_bias(told: Told, classes: Sequence[Sequence[int]], *, regions: bool) -> torch.Tensor:
    """Return the correction to add to the logits [labels] with the best mean Dice; on ties, the smallest correction."""
    voxels, labels = told.voxels, told.shares.shape[1]
    drawn = np.bincount(voxels.labels, minlength=labels) / max(len(voxels.labels), 1)
    there = np.bincount(voxels.labels, weights=voxels.weights, minlength=labels) / max(voxels.weights.sum(), 1)
    whole = np.log(there, where=there > 0, out=np.zeros(labels)) - np.log(drawn, where=drawn > 0, out=np.zeros(labels))
    tried = [torch.from_numpy(part * whole).float() for part in CORRECTIONS]
    reached = [mean_dice(told.scores(bias, classes, regions=regions)) or 0.0 for bias in tried]
    return tried[reached.index(max(reached))]


def mean_dice(scores: Sequence[PatchScore]) -> float | None:
    """Return the mean Dice of the classes for which it is defined."""
    known = [score.dice for score in scores if score.dice is not None]
    return sum(known) / len(known) if known else None
