"""Depthwise convolutions with fast gradients on CPUs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight, conv3d_weight

from autoseg.networks.blocks import Convolution3d

BLOCK = 16
"""Channels in one block of the weight gradient: as many float32 values as fit into a vector register of 512 bits."""
CONVOLVE: dict[int, Callable[..., torch.Tensor]] = {2: F.conv2d, 3: F.conv3d}
WEIGHT_GRADIENT: dict[int, Callable[..., torch.Tensor]] = {2: conv2d_weight, 3: conv3d_weight}


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution x [B,C,*space], weight [C,1,*kernel], bias [C] → [B,C,*space], padded with zeros.

    On a CPU, PyTorch 2.13 takes ten or more times as long for the gradients as for the result (benchmarks/README.md).
    Here the gradient of the input is a convolution with the mirrored kernel. The gradient of the weights is computed
    between all channels of a block, and only the diagonal is kept. This is sixteen times the work, but by code that is
    many times as fast.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        return _convolved(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        space = tuple(range(2, x.dim()))
        for_x, for_weight, for_bias = ctx.needs_input_grad
        return (
            _convolved(gradient, weight.flip(space)) if for_x else None,
            weight_gradient(x, gradient, tuple(weight.shape[2:])) if for_weight else None,
            gradient.sum((0, *space)) if for_bias else None,
        )


def weight_gradient(x: torch.Tensor, gradient: torch.Tensor, kernel: tuple[int, ...]) -> torch.Tensor:
    """Return the gradient [C,1,*kernel] of the weights from x and the gradient of the result, both [B,C,*space]."""
    channels, missing = x.shape[1], -x.shape[1] % BLOCK
    if missing:
        behind = [0] * (2 * len(kernel) + 1) + [missing]
        x, gradient = F.pad(x, behind), F.pad(gradient, behind)
    blocks = x.shape[1] // BLOCK
    shape, padding = (x.shape[1], BLOCK, *kernel), tuple(k // 2 for k in kernel)
    of_all = WEIGHT_GRADIENT[len(kernel)](x, shape, gradient, padding=padding, groups=blocks)
    own = of_all.unflatten(0, (blocks, BLOCK)).diagonal(dim1=1, dim2=2).movedim(-1, 1)
    return own.flatten(0, 1)[:channels, None]


class _QuickOnCpu:
    """Mixin for convolution layers: use the fast gradients on CPUs."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features [B,C,*space]."""
        layer = cast(nn.Conv3d, self)
        if not _is_worth_it(x, layer):
            return cast(torch.Tensor, super().forward(x))  # type: ignore[misc]
        weight, bias = layer.weight, layer.bias
        if torch.is_autocast_enabled("cpu"):
            kind = torch.get_autocast_dtype("cpu")
            x, weight, bias = x.to(kind), weight.to(kind), None if bias is None else bias.to(kind)
        return cast(torch.Tensor, _Depthwise.apply(x, weight, bias))  # type: ignore[no-untyped-call]


class Depthwise2d(_QuickOnCpu, nn.Conv2d):
    """A 2D depthwise convolution: one kernel per channel."""


class Depthwise3d(_QuickOnCpu, Convolution3d):
    """A 3D depthwise convolution: one kernel per channel."""


DEPTHWISE = {2: Depthwise2d, 3: Depthwise3d}


def _is_worth_it(x: torch.Tensor, layer: nn.Conv3d) -> bool:
    """Return whether gradients are needed on a CPU and PyTorch's are slow: all kernels but 3×3 in 2D.

    If a kernel is longer than its input, the layer uses another implementation (see :class:`.blocks.Convolution3d`).
    """
    kernel = layer.kernel_size
    is_longer = any(k > n for k, n in zip(kernel, x.shape[2:], strict=True))
    is_slow = len(kernel) == 3 or math.prod(kernel) > 9
    return x.device.type == "cpu" and torch.is_grad_enabled() and is_slow and not is_longer


def _convolved(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    padding = tuple(k // 2 for k in weight.shape[2:])
    return CONVOLVE[len(padding)](x, weight, bias, padding=padding, groups=x.shape[1])
