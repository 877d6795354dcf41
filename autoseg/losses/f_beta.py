"""The F_β loss: soft Dice in which a missed voxel weighs β² times as much as one too many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Le

from autoseg.losses import losses
from autoseg.losses.soft_counts import OverlapLoss
from autoseg.quantities import Positive

MOST_BETA = 1000.0
"""Far beyond what makes sense; its square is far below what a float32 holds."""


@losses.register("f_beta")
@dataclass(frozen=True, kw_only=True)
class FBeta(OverlapLoss):
    """One minus soft F_β (Moe, *Deep learning for automatic delineation of tumours from PET/CT images*, NMBU 2019).

    F_β is ((1 + β²) Σ p·y + ε) / (β² Σ y + Σ p^s + ε), with ε, which the source does not state, ``smooth``: a class
    that is neither there nor predicted costs nothing. β = 1 and s = 2 is V-Net's Dice loss (Milletari et al. 2016),
    s = 1 nnU-Net's; the source recommends β from 2 to 4. Its power of y has no say where y is 0 or 1, and is left out.
    """

    beta: Annotated[Positive, Le(MOST_BETA)] = 2.0
    power: Positive = 2.0
    smooth: Positive = 1e-5

    def __call__(
        self, logits: torch.Tensor, target: torch.Tensor, annotated: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the loss, a float32 scalar, of logits [B,outputs,*space] against label indices [B,*space]."""
        counts = self.counts(logits, target, annotated, power=self.power)
        weight = self.beta**2
        size = weight * counts.expected + counts.predicted + self.smooth
        return counts.mean(1 - ((1 + weight) * counts.overlap + self.smooth) / size)
