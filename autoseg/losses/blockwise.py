"""Soft Dice and cross-entropy of a softmax in blocks of voxels, with the gradient in closed form.

The gradient is the only new tensor as large as the logits. The plain formula also needs the softmax, the one-hot target
and their products, which together are several times as large. Blocks that fit into the cache are also faster.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from autoseg.losses.in_blocks import voxel_blocks

BLOCK_ELEMENTS = 1 << 20
"""Number of logits of a sample in one block.

In float32 a block is a few megabytes, which fits into the cache of a CPU. The number of blocks stays small for a GPU,
where each block launches about 24 kernels. The value is the same on all devices, so that the memory estimate of a plan
matches training."""
FIXED_POINT = 2.0**36
"""Fixed-point units per 1.0 of a sum.

A GPU adds in an undefined order, and a sum of integers does not depend on the order. Each voxel adds at most 1, so that
patches below 2**27 voxels do not overflow int64."""


@dataclass(frozen=True)
class Terms:
    """Weights and options of the loss; see :class:`autoseg.losses.dice_cross_entropy.DiceCrossEntropy`."""

    dice: float
    cross_entropy: float
    batch_dice: bool
    smooth: float


def dice_cross_entropy(
    logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor | None, terms: Terms
) -> torch.Tensor:
    """Return the loss of logits [B,classes,*space], a scalar of at least single precision.

    ``target`` [B,*space] int64 contains class indices. ``valid`` [B,*space] bool marks the voxels that count; at all
    other voxels ``target`` is 0.
    """
    counted = None if valid is None else valid.flatten(1)
    loss: torch.Tensor = _DiceCrossEntropy.apply(logits.flatten(2), target.flatten(1), counted, terms)  # type: ignore[no-untyped-call]
    return loss


class _DiceCrossEntropy(torch.autograd.Function):
    """The loss of logits [B,classes,voxels].

    Symbols: p is the softmax, y the one-hot target, n the number of valid voxels, w the weight of the cross-entropy; a
    and b are the results of :func:`_dice_slopes`. The derivative of the Dice term by p is b − a·y. The derivative of
    the loss by the logits is p·(b − Σ p·b + a_y·p_y + w/n) − y·(a_y·p_y + w/n). The first term has the same form for
    all classes; the second term is one number for the true class of each voxel.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor | None, terms: Terms
    ) -> torch.Tensor:
        with torch.autocast(logits.device.type, enabled=False):
            sums = _sums(logits, target, valid)
            voxels = sums.normalizer.numel() if valid is None else valid.sum().clamp(min=1)
            scores, own, every = _dice_slopes(sums.overlap, sums.total, terms)
        ctx.save_for_backward(logits, target, sums.normalizer, own, every, terms.cross_entropy / _like(voxels, own))
        return terms.cross_entropy * sums.entropy / voxels - terms.dice * scores

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, outer: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:  # type: ignore[override]
        logits, target, normalizer, own, every, entropy = ctx.saved_tensors
        gradient = torch.empty_like(logits)
        with torch.autocast(logits.device.type, enabled=False):
            own, every, entropy = own * outer, every * outer, entropy * outer
            for block in voxel_blocks(logits, BLOCK_ELEMENTS):
                # At ignored voxels the normalizer is infinite, so that all probabilities are 0.
                shift, label = normalizer[:, None, block], target[:, None, block]
                probabilities = (logits[..., block] - shift).exp_()
                extra = own[..., None].expand_as(probabilities).gather(1, label) * probabilities.gather(1, label)
                slopes = probabilities * every[..., None]
                share = extra + entropy - slopes.sum(1, keepdim=True)
                slopes.addcmul_(probabilities, share)
                slopes.scatter_add_(1, label, -(extra + entropy * shift.isfinite()))
                gradient[..., block] = slopes
        return gradient, None, None, None


@dataclass(frozen=True)
class _Sums:
    """Sums over the valid voxels."""

    entropy: torch.Tensor
    """Sum of the cross-entropies, a scalar."""
    overlap: torch.Tensor
    """Σ p·y, [B,classes]. The Dice term does not use the entry of the background."""
    total: torch.Tensor
    """Σ p + Σ y, [B,classes]."""
    normalizer: torch.Tensor
    """Log-sum-exp of the logits of each voxel, [B,voxels]; infinite at ignored voxels."""


def _sums(logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor | None) -> _Sums:
    batch, classes, voxels = logits.shape
    dtype = torch.promote_types(logits.dtype, torch.float32)
    total, entropy = logits.new_zeros(batch, classes, dtype=dtype), logits.new_zeros((), dtype=dtype)
    overlap, counts = (logits.new_zeros(batch, classes, dtype=torch.int64) for _ in range(2))
    normalizer, one = logits.new_empty(batch, voxels, dtype=dtype), target.new_ones(())
    for block in voxel_blocks(logits, BLOCK_ELEMENTS):
        values, label = logits[..., block], target[:, block]
        highest = values.amax(1, keepdim=True).to(dtype)
        exponentials = (values - highest).exp_()
        sums = exponentials.sum(1)
        weights = sums.reciprocal()
        logarithms = sums.log_().add_(highest[:, 0])
        losses = logarithms - values.gather(1, label[:, None])[:, 0]
        if valid is not None:
            here = valid[:, block]
            weights, losses = weights.where(here, 0), losses.where(here, 0)
            logarithms = logarithms.where(here, torch.inf)
        normalizer[:, block] = logarithms
        entropy += losses.sum()
        total += exponentials.mul_(weights[:, None]).sum(2)
        overlap.scatter_add_(1, label, losses.neg_().exp_().mul_(FIXED_POINT).long())
        counts.scatter_add_(1, label, one.expand_as(label))
    return _Sums(entropy, (overlap.double() / FIXED_POINT).to(dtype), total + counts, normalizer)


def _dice_slopes(
    overlap: torch.Tensor, total: torch.Tensor, terms: Terms
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the mean foreground Dice, and a and b [B,classes] of the derivative b − a·y of −dice·Dice by p."""
    if terms.batch_dice:
        overlap, total = (sums.sum(0, keepdim=True).expand_as(sums) for sums in (overlap, total))
    size = total + terms.smooth
    scores = (2 * overlap + terms.smooth) / size
    means = (scores.shape[1] - 1) * (1 if terms.batch_dice else len(scores))
    weight = scores.new_full((scores.shape[1],), terms.dice / means)
    weight[0] = 0
    return scores[:, 1:].mean(), 2 * weight / size, weight * scores / size


def _like(number: int | torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(number, dtype=other.dtype, device=other.device)
