"""The label map of a previous stage as a network reads it: one channel of zeros and ones for each label."""

from __future__ import annotations

import torch


def label_channels(labels: torch.Tensor, count: int) -> torch.Tensor:
    """Turn labels [N,*space] into channels [N,count,*space] float32 for the labels 1 to ``count``.

    The background has no channel, as in nnU-Net: it is where all others are zero.
    """
    values = torch.arange(1, count + 1, dtype=labels.dtype, device=labels.device)
    return (labels[:, None] == values.reshape(-1, *[1] * (labels.ndim - 1))).float()


def split_label_map(images: torch.Tensor, count: int) -> torch.Tensor:
    """Replace the last channel of images [N,C+1,*space], a label map, by ``count`` channels; 0 leaves all as it is."""
    return torch.cat([images[:, :-1], label_channels(images[:, -1], count)], dim=1) if count else images
