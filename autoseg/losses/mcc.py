"""A loss from Matthews' correlation coefficient, which also uses true negatives."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from autoseg.losses import losses
from autoseg.losses.soft_counts import OverlapLoss
from autoseg.registry import Positive


@losses.register("mcc")
@dataclass(frozen=True, kw_only=True)
class MCC(OverlapLoss):
    """One minus Matthews' correlation coefficient of soft counts (Abhishek and Hamarneh, ISBI 2021).

    With e expected voxels, q predicted voxels, n voxels in total and t true positives, the coefficient is
    (t − e·q/n) / √(e·q·(1 − e/n)·(1 − q/n) + ε). This equals (TP·TN − FP·FN) / √…, without products of four counts.
    If a class covers no voxel or all voxels, the coefficient is 0 and the gradient carries no information. Therefore
    the counts of a batch are pooled unless ``per_image`` is set. For patches, combine this loss with a cross-entropy in
    a ``sum``.
    """

    per_image: bool = False
    smooth: Positive = 1e-5

    def __call__(
        self, logits: torch.Tensor, target: torch.Tensor, annotated: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the loss, a float32 scalar, of logits [B,outputs,*space] for label indices [B,*space]."""
        counts = self.counts(logits, target, annotated)
        voxels = counts.voxels.clamp(min=1)
        expected, predicted = counts.expected, counts.predicted
        chance = expected * predicted / voxels
        spread = expected * predicted * (1 - expected / voxels) * (1 - predicted / voxels)
        return counts.mean(1 - (counts.overlap - chance) / (spread.clamp(min=0) + self.smooth).sqrt())
