"""The Tversky loss, with separate weights for false positives and false negatives, and its focal form."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from autoseg.errors import PlanError
from autoseg.losses import losses
from autoseg.losses.soft_counts import OverlapLoss
from autoseg.registry import NonNegative, Positive

SMALLEST_BASE = 1e-6
"""Lower bound of the base of the focal power: for an exponent below 1, the slope at 0 is infinite."""


@losses.register("tversky")
@dataclass(frozen=True, kw_only=True)
class Tversky(OverlapLoss):
    """One minus (TP + ε) / (TP + α FP + β FN + ε) of soft counts (Salehi et al. 2017), to the power ``focal``.

    α = β = ½ is soft Dice and α = β = 1 is soft IoU. A larger β raises the recall of small classes. A ``focal`` above 1
    emphasizes classes with a high loss; one below 1 emphasizes classes with a low loss, such as the ¾ of Abraham and
    Khan 2019.
    """

    alpha: NonNegative = 0.3
    beta: NonNegative = 0.7
    focal: Positive = 1.0
    smooth: Positive = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.alpha and not self.beta:
            raise PlanError("losses 'tversky', arguments 'alpha' and 'beta': found 0 and 0, expected one above 0")

    def __call__(
        self, logits: torch.Tensor, target: torch.Tensor, annotated: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the loss, a float32 scalar, of logits [B,outputs,*space] for label indices [B,*space]."""
        counts = self.counts(logits, target, annotated)
        excess, missed = counts.predicted - counts.overlap, counts.expected - counts.overlap
        faults = self.alpha * excess + self.beta * missed
        # Equal to one minus the index, but without the rounding error of the subtraction.
        shares = faults / (counts.overlap + faults + self.smooth)
        return counts.mean(shares if self.focal == 1 else shares.clamp_min(SMALLEST_BASE) ** self.focal)
