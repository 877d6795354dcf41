"""Soft Dice and cross-entropy, nnU-Net's objective."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from autoseg.losses import losses
from autoseg.losses.blockwise import Terms, dice_cross_entropy


@losses.register("dice_cross_entropy")
@dataclass(frozen=True)
class DiceCrossEntropy:
    """Cross-entropy minus soft Dice, each with its weight (Isensee et al. 2021; Milletari et al. 2016).

    Dice is the mean over samples and foreground classes of (2 Σ p·t + s) / (Σ p + Σ t + s); with ``batch_dice`` the
    sums run over the whole batch. The minimum is −``dice``. Voxels whose target is ``ignore_index`` count nowhere.
    """

    dice: float = 1.0
    cross_entropy: float = 1.0
    batch_dice: bool = False
    smooth: float = 1e-5
    ignore_index: int | None = None

    def __call__(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the loss, a float32 scalar, of logits [B,classes,*space] against classes [B,*space] int64."""
        valid = None
        if self.ignore_index is not None:
            valid = target != self.ignore_index
            target = target.where(valid, 0)
        return dice_cross_entropy(
            logits, target, valid, Terms(self.dice, self.cross_entropy, self.batch_dice, self.smooth)
        )
