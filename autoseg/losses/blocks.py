"""Blocks of the voxels of logits, which a loss works on one after the other."""

from __future__ import annotations

from collections.abc import Iterator

import torch

MOST_BLOCKS = 32
"""Blocks of a sample. More would hardly take less memory beside the logits, but time: each costs a GPU the start of
some dozens of kernels, and a plan the counting of as many operations for each of its candidates."""


def voxel_blocks(logits: torch.Tensor, elements: int) -> Iterator[slice]:
    """Cut the voxels of logits [B,outputs,V] into blocks of about ``elements`` logits, as many whatever the batch."""
    voxels = logits.shape[2]
    size = max(1, elements // logits.shape[1], -(-voxels // MOST_BLOCKS))
    for start in range(0, voxels, size):
        yield slice(start, start + size)
