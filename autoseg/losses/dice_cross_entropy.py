"""Soft Dice and cross-entropy, nnU-Net's loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from autoseg.losses import losses
from autoseg.losses.blockwise import Terms, dice_cross_entropy

FEW_CLASSES = 5
"""Largest number of classes for which the plain formula is faster and its copies of the logits are small."""


@losses.register("dice_cross_entropy")
@dataclass(frozen=True)
class DiceCrossEntropy:
    """Cross-entropy minus soft Dice, each with its weight (Isensee et al. 2021; Milletari et al. 2016).

    Dice is the mean over samples and foreground classes of (2 Σ p·t + s) / (Σ p + Σ t + s); with ``batch_dice`` the
    sums run over the whole batch. The minimum is −``dice``. Voxels whose target is ``ignore_index`` are ignored.
    """

    dice: float = 1.0
    cross_entropy: float = 1.0
    batch_dice: bool = False
    smooth: float = 1e-5
    ignore_index: int | None = None

    def __call__(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the loss, a float32 scalar, of logits [B,classes,*space] for class indices [B,*space] int64."""
        valid = None if self.ignore_index is None else target != self.ignore_index
        if logits.shape[1] > FEW_CLASSES:
            terms = Terms(self.dice, self.cross_entropy, self.batch_dice, self.smooth)
            return dice_cross_entropy(logits, target if valid is None else target.where(valid, 0), valid, terms)
        log_probabilities = F.log_softmax(logits.float(), dim=1)
        entropy = _entropy(log_probabilities, target, valid)
        return self.cross_entropy * entropy - self.dice * self._mean_dice(log_probabilities.exp(), target, valid)

    def _mean_dice(self, probabilities: torch.Tensor, target: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
        foreground = probabilities[:, 1:].flatten(2)
        classes = torch.arange(1, probabilities.shape[1], device=target.device)
        # The mask needs one byte per voxel and class; a float32 one-hot target would be as large as the probabilities.
        expected = target.flatten(1)[:, None] == classes[:, None]
        if valid is not None:
            here = valid.flatten(1)[:, None]
            foreground, expected = foreground * here, expected & here
        overlap = (foreground * expected).sum(2)
        total = foreground.sum(2) + expected.sum(2)
        if self.batch_dice:
            overlap, total = overlap.sum(0), total.sum(0)
        return ((2 * overlap + self.smooth) / (total + self.smooth)).mean()


def _entropy(log_probabilities: torch.Tensor, target: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
    """Return the mean cross-entropy over valid voxels; 0 if no voxel is valid."""
    if valid is None:
        return F.nll_loss(log_probabilities, target)
    nowhere = -1
    total = F.nll_loss(log_probabilities, target.where(valid, nowhere), ignore_index=nowhere, reduction="sum")
    return total / valid.sum().clamp(min=1)
