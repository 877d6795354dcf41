"""The F_β loss: soft Dice in which a false negative weighs β² times as much as a false positive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Le

from autoseg.losses import losses
from autoseg.losses.soft_counts import OverlapLoss
from autoseg.registry import Positive

MOST_BETA = 1000.0
"""Upper bound of β: far above useful values, and its square is far below the maximum of float32."""


@losses.register("f_beta")
@dataclass(frozen=True, kw_only=True)
class FBeta(OverlapLoss):
    """One minus soft F_β (Moe, *Deep learning for automatic delineation of tumours from PET/CT images*, NMBU 2019).

    F_β is ((1 + β²) Σ p·y + ε) / (β² Σ y + Σ p^s + ε), with s = ``power`` and ε = ``smooth``. The source does not state
    ε; with it, the loss is 0 for a class that is neither present nor predicted. β = 1 and s = 2 is the Dice loss of
    V-Net (Milletari et al. 2016); β = 1 and s = 1 is that of nnU-Net. The source recommends β from 2 to 4. The source
    also raises y to a power; this is left out, because it changes nothing for y of 0 or 1.
    """

    beta: Annotated[Positive, Le(MOST_BETA)] = 2.0
    power: Positive = 2.0
    smooth: Positive = 1e-5

    def __call__(
        self, logits: torch.Tensor, target: torch.Tensor, annotated: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the loss, a float32 scalar, of logits [B,outputs,*space] for label indices [B,*space]."""
        counts = self.counts(logits, target, annotated, power=self.power)
        weight = self.beta**2
        size = weight * counts.expected + counts.predicted + self.smooth
        return counts.mean(1 - ((1 + weight) * counts.overlap + self.smooth) / size)
