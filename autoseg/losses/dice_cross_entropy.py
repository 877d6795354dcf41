"""Soft Dice and cross-entropy, nnU-Net's objective."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from autoseg.losses import losses


@losses.register("dice_cross_entropy")
@dataclass(frozen=True)
class DiceCrossEntropy:
    """Cross-entropy minus soft Dice, each with its weight (Isensee et al. 2021; Milletari et al. 2016).

    Dice is the mean over samples and foreground classes of (2 Σ p·t + s) / (Σ p + Σ t + s); with ``batch_dice`` the
    sums run over the whole batch. The minimum is −``dice``.
    """

    dice: float = 1.0
    cross_entropy: float = 1.0
    batch_dice: bool = False
    smooth: float = 1e-5

    def __call__(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the loss, a float32 scalar, of logits [B,classes,*space] against classes [B,*space] int64."""
        log_probabilities = F.log_softmax(logits.float(), dim=1)
        entropy = F.nll_loss(log_probabilities, target)
        probabilities = log_probabilities.exp()
        axes = tuple(range(2, logits.ndim))
        # Only the probability of the true class is summed; a one-hot target would be as large as the logits.
        agreed = probabilities.gather(1, target[:, None])[:, 0]
        overlap = _sums_by_class(agreed, target, logits.shape[1])
        expected = _sums_by_class(torch.ones_like(agreed), target, logits.shape[1])
        predicted = probabilities.sum(dim=axes)
        if self.batch_dice:
            overlap, expected, predicted = overlap.sum(0), expected.sum(0), predicted.sum(0)
        dice = (2 * overlap + self.smooth) / (predicted + expected + self.smooth)
        return self.cross_entropy * entropy - self.dice * dice[..., 1:].mean()


def _sums_by_class(values: torch.Tensor, target: torch.Tensor, classes: int) -> torch.Tensor:
    """Sum values [B,*space] over the voxels of each class; returns [B,classes]."""
    return torch.stack([torch.where(target == c, values, 0).flatten(1).sum(dim=1) for c in range(classes)], dim=1)
