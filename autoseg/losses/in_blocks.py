"""Any function of the voxels of logits, worked out in blocks, so that nothing as large as the logits is kept for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from autoseg.losses.blocks import voxel_blocks

BLOCK_ELEMENTS = 1 << 19
"""Logits of a sample that are worked on at once. A block has about ten temporary tensors of this size for each sample,
which the C library keeps when they are freed: few, so that they are little beside the logits of a patch, and stay in
the cache; and enough for a GPU, where each block costs the start of some dozens of kernels."""

BlockFunction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Of logits [B,outputs,N] of at least single precision and label indices [B,N] of the N voxels of a block."""


def voxels_in_blocks(function: BlockFunction, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return what ``function`` makes of each voxel, [B,V], from logits [B,outputs,*space] and labels [B,*space]."""
    return _apply(function, logits, target, False)


def sums_in_blocks(function: BlockFunction, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the sum over blocks of what ``function`` makes of each, of any one shape."""
    return _apply(function, logits, target, True)


def _apply(function: BlockFunction, logits: torch.Tensor, target: torch.Tensor, summed: bool) -> torch.Tensor:
    result: torch.Tensor = _InBlocks.apply(logits.flatten(2), target.flatten(1), function, summed)  # type: ignore[no-untyped-call]
    return result


class _InBlocks(torch.autograd.Function):
    """Going back, each block is worked out once more, and differentiated while it is in the cache."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, logits: torch.Tensor, target: torch.Tensor, function: BlockFunction, summed: bool
    ) -> torch.Tensor:
        ctx.save_for_backward(logits, target)
        ctx.function, ctx.summed = function, summed
        with torch.autocast(logits.device.type, enabled=False):
            parts = (
                function(_precise(logits[..., block]), target[:, block])
                for block in voxel_blocks(logits, BLOCK_ELEMENTS)
            )
            if not summed:
                return torch.cat(list(parts), dim=-1)
            total = next(parts)
            for part in parts:
                total += part
            return total

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, outer: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:  # type: ignore[override]
        logits, target = ctx.saved_tensors
        gradient = torch.empty_like(logits)
        with torch.autocast(logits.device.type, enabled=False):
            for block in voxel_blocks(logits, BLOCK_ELEMENTS):
                values = _precise(logits[..., block].detach()).requires_grad_()
                with torch.enable_grad():
                    result = ctx.function(values, target[:, block])
                share = outer if ctx.summed else outer[..., block]
                gradient[..., block] = torch.autograd.grad(result, values, share)[0]
        return gradient, None, None, None


def _precise(values: torch.Tensor) -> torch.Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
