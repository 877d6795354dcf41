"""The loss of Matthews' correlation coefficient, which counts true negatives as well."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from autoseg.losses import losses
from autoseg.losses.soft_counts import OverlapLoss
from autoseg.quantities import Positive


@losses.register("mcc")
@dataclass(frozen=True, kw_only=True)
class MCC(OverlapLoss):
    """One minus Matthews' correlation coefficient of soft counts (Abhishek and Hamarneh, ISBI 2021).

    With e voxels expected, q predicted, n in all and t true positives, the coefficient is
    (t − e·q/n) / √(e·q·(1 − e/n)·(1 − q/n) + ε): the same as (TP·TN − FP·FN) / √…, without products of four counts.
    Where a class is nowhere, or everywhere, it is 0, and teaches nothing: therefore the batch is one image unless
    ``per_image``, and in patches this loss is best one of a ``sum`` with a cross-entropy.
    """

    per_image: bool = False
    smooth: Positive = 1e-5

    def __call__(
        self, logits: torch.Tensor, target: torch.Tensor, annotated: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the loss, a float32 scalar, of logits [B,outputs,*space] against label indices [B,*space]."""
        counts = self.counts(logits, target, annotated)
        voxels = counts.voxels.clamp(min=1)
        expected, predicted = counts.expected, counts.predicted
        chance = expected * predicted / voxels
        spread = expected * predicted * (1 - expected / voxels) * (1 - predicted / voxels)
        return counts.mean(1 - (counts.overlap - chance) / (spread.clamp(min=0) + self.smooth).sqrt())
