"""Deep supervision: a loss at every resolution of the network's logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional as F

Loss = Callable[..., torch.Tensor]
"""A function of logits, label indices and, with partial annotation, a mask of the annotated outputs."""


class DeepSupervision:
    """The weighted mean of a loss over resolutions.

    Weights are those of nnU-Net: each resolution has half the weight of the next finer one, and the coarsest has weight
    0. Targets are resampled to each resolution by nearest neighbour.
    """

    def __init__(self, loss: Loss) -> None:
        self._loss = loss

    def __call__(
        self, logits: Sequence[torch.Tensor], target: torch.Tensor, annotated: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the loss of logits, finest first, for label indices [B,*space] at the finest resolution.

        ``annotated`` [B,outputs], if given, is passed to the loss.
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
    """Return the weights 1, 1/2, 1/4 …, scaled to a sum of 1; the last of two or more is 0."""
    weights = [0.5**level for level in range(count)]
    if count > 1:
        weights[-1] = 0.0
    return [weight / sum(weights) for weight in weights]


def at_resolution(target: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Resample label indices [B,*space] to ``shape`` by nearest neighbour."""
    if tuple(target.shape[1:]) == shape:
        return target
    return F.interpolate(target[:, None].float(), shape, mode="nearest-exact")[:, 0].to(target.dtype)
