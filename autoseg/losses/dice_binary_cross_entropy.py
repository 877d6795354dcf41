"""Soft Dice and binary cross-entropy: nnU-Net's loss for regions that may overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn import functional as F

from autoseg.losses import losses


@losses.register("dice_binary_cross_entropy")
@dataclass(frozen=True)
class DiceBinaryCrossEntropy:
    """Binary cross-entropy minus soft Dice of sigmoid outputs, each with its weight (Isensee et al. 2021).

    ``regions`` lists, for each output, the label indices that make up its region. Dice is the mean over samples and
    regions of (2 Σ p·t + s) / (Σ p + Σ t + s); with ``batch_dice`` the sums run over the whole batch. The minimum is
    −``dice``. Voxels whose target is ``ignore_index`` are ignored, as are regions that are not annotated in a sample.
    """

    regions: list[list[int]]
    dice: float = 1.0
    cross_entropy: float = 1.0
    batch_dice: bool = False
    smooth: float = 1e-5
    ignore_index: int | None = None

    activation: ClassVar[str] = "sigmoid"

    def __call__(
        self, logits: torch.Tensor, target: torch.Tensor, annotated: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the loss, a float32 scalar, of logits [B,regions,*space] for label indices [B,*space] int64.

        ``annotated`` [B,regions] marks the annotated regions of each sample; None means all.
        """
        logits = logits.float().flatten(2)
        expected = region_masks(target.flatten(1), self.regions)
        valid = None if self.ignore_index is None else (target != self.ignore_index).flatten(1)[:, None]
        known = None if annotated is None else annotated[..., None]
        counted = valid if known is None else known if valid is None else valid & known
        entropy = _entropy(logits, expected, counted)
        return self.cross_entropy * entropy - self.dice * self._mean_dice(logits, expected, counted, annotated)

    def _mean_dice(
        self,
        logits: torch.Tensor,
        expected: torch.Tensor,
        counted: torch.Tensor | None,
        annotated: torch.Tensor | None,
    ) -> torch.Tensor:
        probabilities = logits.sigmoid()
        if counted is not None:
            probabilities, expected = probabilities * counted, expected & counted
        overlap = (probabilities * expected).sum(2)
        total = probabilities.sum(2) + expected.sum(2)
        if self.batch_dice:
            overlap, total = overlap.sum(0), total.sum(0)
        scores = (2 * overlap + self.smooth) / (total + self.smooth)
        if annotated is None:
            return scores.mean()
        measured = annotated.any(0) if self.batch_dice else annotated
        return (scores * measured).sum() / measured.sum().clamp(min=1)


def region_masks(target: torch.Tensor, regions: Sequence[Sequence[int]]) -> torch.Tensor:
    """Return the mask of each region, [B,regions,*space] bool, for label indices [B,*space].

    Ignored voxels belong to no region. A mask needs one byte per voxel and region; a float32 target would need as much
    memory as the logits.
    """
    masks = torch.zeros(target.shape[0], len(regions), *target.shape[1:], dtype=torch.bool, device=target.device)
    for index, members in enumerate(regions):
        for member in members:
            masks[:, index] |= target == member
    return masks


def _entropy(logits: torch.Tensor, expected: torch.Tensor, counted: torch.Tensor | None) -> torch.Tensor:
    """Return the mean binary cross-entropy over the counted voxels and regions; 0 if none count."""
    # −log p is softplus(−x) and −log(1 − p) is softplus(x). A mask suffices; PyTorch's function needs a float target.
    terms = F.softplus(torch.where(expected, -logits, logits))
    if counted is None:
        return terms.mean()
    return (terms * counted).sum() / counted.expand_as(terms).sum().clamp(min=1)
