"""PReLU with fast gradients on CPUs."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class _PReLU(torch.autograd.Function):
    """PReLU of x [B,C,*space]: x if x is positive, otherwise ``slopes`` [C] times x.

    On a CPU, PyTorch 2.13 computes the gradient of the slopes as a tensor as large as x and then sums it. In bfloat16
    this takes longer than the preceding convolution (benchmarks/README.md).
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, slopes: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, slopes)
        return F.relu(x).lerp_(x, _for_channels(slopes, x))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, slopes = ctx.saved_tensors
        for_x = for_slopes = None
        if ctx.needs_input_grad[1]:
            # Sum one axis at a time: in bfloat16 this is many times faster than both at once.
            for_slopes = x.clamp(max=0).mul_(gradient).flatten(2).sum(2).sum(0)
        if ctx.needs_input_grad[0]:
            where_positive = torch.ops.aten.threshold_backward(gradient, x, 0)
            for_x = where_positive.lerp_(gradient, _for_channels(slopes, x))
        return for_x, for_slopes


def _for_channels(slopes: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return slopes.view(-1, *[1] * (x.dim() - 2))


class PReLU(nn.PReLU):
    """A leaky ReLU with one learned slope for each channel (He et al. 2015)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features [B,C,*space]."""
        if not _is_worth_it(x):
            return super().forward(x)
        kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        return cast(torch.Tensor, _PReLU.apply(x.to(kind), self.weight.to(kind)))  # type: ignore[no-untyped-call]


def _is_worth_it(x: torch.Tensor) -> bool:
    """Return whether gradients are needed on a CPU."""
    return x.device.type == "cpu" and torch.is_grad_enabled()
