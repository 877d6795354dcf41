"""A loss at every resolution that a network predicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional as F

Loss = Callable[..., torch.Tensor]
"""A loss of logits and label indices, and of which outputs were annotated where not all were."""


class DeepSupervision:
    """The mean of a loss over resolutions, each weighted half as much as the next finer, the coarsest not at all.

    nnU-Net's weights; targets are brought to each resolution by the nearest voxel.
    """

    def __init__(self, loss: Loss) -> None:
        self._loss = loss

    def __call__(
        self, logits: Sequence[torch.Tensor], target: torch.Tensor, annotated: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the loss of logits, finest first, against label indices [B,*space] at the finest resolution.

        ``annotated`` [B,outputs], where given, is handed on to the loss.
        """
        more: tuple[Any, ...] = () if annotated is None else (annotated,)
        weights = resolution_weights(len(logits))
        terms = [
            weight * self._loss(level, at_resolution(target, tuple(level.shape[2:])), *more)
            for weight, level in zip(weights, logits, strict=True)
            if weight
        ]
        return torch.stack(terms).sum()


def resolution_weights(count: int) -> list[float]:
    """Return 1, 1/2, 1/4 … and 0 for the last of several, scaled to a sum of 1."""
    weights = [0.5**level for level in range(count)]
    if count > 1:
        weights[-1] = 0.0
    return [weight / sum(weights) for weight in weights]


def at_resolution(target: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Take the nearest voxels of label indices [B,*space] for another shape."""
    if tuple(target.shape[1:]) == shape:
        return target
    return F.interpolate(target[:, None].float(), shape, mode="nearest-exact")[:, 0].to(target.dtype)
