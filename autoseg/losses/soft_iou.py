"""Soft intersection over union."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from autoseg.losses import losses
from autoseg.losses.soft_counts import OverlapLoss
from autoseg.registry import Positive


@losses.register("soft_iou")
@dataclass(frozen=True, kw_only=True)
class SoftIoU(OverlapLoss):
    """One minus soft IoU, (Σ p·y + ε) / (Σ y + Σ p − Σ p·y + ε), with ε = ``smooth`` (Nowozin, CVPR 2014).

    Nowozin averages over all classes; set ``background`` for that. Like all overlap losses, it leads to overconfident
    probabilities.
    """

    smooth: Positive = 1e-5

    def __call__(
        self, logits: torch.Tensor, target: torch.Tensor, annotated: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the loss, a float32 scalar, of logits [B,outputs,*space] for label indices [B,*space]."""
        counts = self.counts(logits, target, annotated)
        union = counts.expected + counts.predicted - counts.overlap
        return counts.mean(1 - (counts.overlap + self.smooth) / (union + self.smooth))
