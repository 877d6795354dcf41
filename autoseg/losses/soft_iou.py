"""Soft intersection over union."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from autoseg.losses import losses
from autoseg.losses.soft_counts import OverlapLoss
from autoseg.quantities import Positive


@losses.register("soft_iou")
@dataclass(frozen=True, kw_only=True)
class SoftIoU(OverlapLoss):
    """One minus (Σ p·y + ε) / (Σ y + Σ p − Σ p·y + ε): the union is y, and p where y is not (Nowozin, CVPR 2014).

    Nowozin averages over all classes: set ``background`` for that. As all losses of overlap, it makes networks surer of
    themselves than they should be.
    """

    smooth: Positive = 1e-5

    def __call__(
        self, logits: torch.Tensor, target: torch.Tensor, annotated: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the loss, a float32 scalar, of logits [B,outputs,*space] against label indices [B,*space]."""
        counts = self.counts(logits, target, annotated)
        union = counts.expected + counts.predicted - counts.overlap
        return counts.mean(1 - (counts.overlap + self.smooth) / (union + self.smooth))
