"""Evaluate a function of logits in blocks of voxels, so that autograd stores no tensors as large as the logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.autograd.function import once_differentiable

BLOCK_ELEMENTS = 1 << 19
"""Number of logits of a sample in one block.

A block has about ten temporary tensors of this size for each sample, and the C library keeps their memory when they are
freed. The size is small compared with the logits of a patch and fits into the cache. It is large enough for a GPU,
where each block launches some dozens of kernels."""

BlockFunction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""A function of a block of N voxels: logits [B,outputs,N] of at least single precision and label indices [B,N]."""


def voxels_in_blocks(function: BlockFunction, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the result of ``function`` for each voxel, [B,V], of logits [B,outputs,*space] and labels [B,*space]."""
    return _apply(function, logits, target, False)


def sums_in_blocks(function: BlockFunction, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the sum of the results of ``function`` over all blocks; the results have the same shape."""
    return _apply(function, logits, target, True)


def _apply(function: BlockFunction, logits: torch.Tensor, target: torch.Tensor, summed: bool) -> torch.Tensor:
    result: torch.Tensor = _InBlocks.apply(logits.flatten(2), target.flatten(1), function, summed)  # type: ignore[no-untyped-call]
    return result


class _InBlocks(torch.autograd.Function):
    """The backward pass recomputes each block and differentiates it while it is in the cache."""

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


MOST_BLOCKS = 32
"""Largest number of blocks of a sample.

More blocks hardly save memory compared with the logits, but cost time: each block launches some dozens of kernels on a
GPU, and the planner counts as many operations for each candidate plan."""


def voxel_blocks(logits: torch.Tensor, elements: int) -> Iterator[slice]:
    """Cut the voxels of logits [B,outputs,V] into blocks of about ``elements`` logits; the batch size has no effect."""
    voxels = logits.shape[2]
    size = max(1, elements // logits.shape[1], -(-voxels // MOST_BLOCKS))
    for start in range(0, voxels, size):
        yield slice(start, start + size)
