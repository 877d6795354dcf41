"""Soft Dice and cross-entropy of a softmax in blocks of voxels, with the gradient in closed form.

Nothing as large as the logits is made but their gradient, where softmax, one-hot target and products of the two are
several times as large; and what stays in the cache is faster as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from autoseg.losses.blocks import voxel_blocks

BLOCK_ELEMENTS = 1 << 20
"""Logits of a sample that are worked on at once: in float32 some megabytes, as caches have, and few enough blocks for a
GPU, where each costs the start of two dozen kernels. The same on all devices, so that a plan counts what is used."""
FIXED_POINT = 2.0**36
"""Units in 1 of a sum in fixed point. Integers add up to the same in any order, in which a GPU adds as it comes; and
the voxels of a patch, each 1 at most, do not overflow it below 2**27 of them."""


@dataclass(frozen=True)
class Terms:
    """What the loss is made of; see :class:`autoseg.losses.dice_cross_entropy.DiceCrossEntropy`."""

    dice: float
    cross_entropy: float
    batch_dice: bool
    smooth: float


def dice_cross_entropy(
    logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor | None, terms: Terms
) -> torch.Tensor:
    """Return the loss, a scalar of at least single precision, of logits [B,classes,*space].

    ``target`` [B,*space] int64 are classes; 0 where ``valid`` [B,*space] bool says that a voxel does not count.
    """
    counted = None if valid is None else valid.flatten(1)
    loss: torch.Tensor = _DiceCrossEntropy.apply(logits.flatten(2), target.flatten(1), counted, terms)  # type: ignore[no-untyped-call]
    return loss


class _DiceCrossEntropy(torch.autograd.Function):
    """Of logits [B,classes,voxels].

    With p the softmax, y the one-hot target, n the voxels that count, w the weight of the cross-entropy and a and b as
    :func:`_dice_slopes` returns them, the loss changes by b − a·y with p, so that its derivative by the logits is
    p·(b − Σ p·b + a_y·p_y + w/n) − y·(a_y·p_y + w/n): one formula for all classes, and one number for a voxel's own.
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
                # Where a voxel does not count, the normalizer is infinite and all probabilities are 0.
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
    """Sums over voxels that count."""

    entropy: torch.Tensor
    """Scalar."""
    overlap: torch.Tensor
    """Σ p·y, [B,classes]; not of the background, which has no Dice."""
    total: torch.Tensor
    """Σ p + Σ y, as well."""
    normalizer: torch.Tensor
    """Logarithm of the sum of exponentials of each voxel, [B,voxels]; infinite where it does not count."""


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
    """Return the mean Dice of the foreground and what −dice·Dice changes by p, [B,classes]: b − a·y, as (a, b)."""
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
