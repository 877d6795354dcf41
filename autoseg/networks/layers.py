"""Layers of published networks other than nnU-Net: other normalizations, layer orders and upsampling kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from autoseg.networks.blocks import CONVOLUTIONS, InstanceNorm
from autoseg.networks.depthwise import DEPTHWISE

Normalization = Literal["batch", "instance", "none"]

BATCH_NORMS = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
MAX_POOLINGS = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
TRANSPOSED_OF_ANY_KERNEL = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
LINEAR = {2: "bilinear", 3: "trilinear"}
"""Modes of linear interpolation."""


class Residual(nn.Module):
    """The sum of a branch and a shortcut, which by default is the input itself (He et al. 2016)."""

    def __init__(
        self, branch: nn.Module, shortcut: nn.Module | None = None, activation: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut or nn.Identity()
        self.activation = activation or nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the activation of the sum, with the shape of the branch."""
        result: torch.Tensor = self.activation(self.shortcut(x) + self.branch(x))
        return result


def norm(dimension: int, channels: int, normalization: Normalization = "batch") -> nn.Module:
    """Return a normalization of [B,channels,*space]; an identity for ``none``.

    Values are PyTorch's defaults: running statistics keep 0.9 of their previous value, and 1e-5 is added to variances.
    """
    if normalization == "batch":
        return BATCH_NORMS[dimension](channels)
    return InstanceNorm(channels) if normalization == "instance" else nn.Identity()


def convolution(
    dimension: int,
    inputs: int,
    outputs: int,
    *,
    kernel: Sequence[int],
    stride: Sequence[int] | None = None,
    groups: int = 1,
) -> nn.Module:
    """Return a zero-padded convolution of odd kernels: [B,inputs,*space] becomes [B,outputs,*ceil(space / stride)]."""
    padding, strides = tuple(k // 2 for k in kernel), tuple(stride or [1] * dimension)
    is_depthwise = groups == inputs == outputs and max(strides) == 1
    layer = DEPTHWISE[dimension] if is_depthwise else CONVOLUTIONS[dimension]
    return layer(inputs, outputs, tuple(kernel), strides, padding, groups=groups)  # type: ignore[arg-type]


def upsampling(
    dimension: int, inputs: int, outputs: int, *, kernel: Sequence[int], stride: Sequence[int], groups: int = 1
) -> nn.Module:
    """Return a transposed convolution of odd kernels: [B,inputs,*space] becomes [B,outputs,*space × stride]."""
    padding, missing = tuple(k // 2 for k in kernel), tuple(s - 1 for s in stride)
    layer = TRANSPOSED_OF_ANY_KERNEL[dimension]
    return layer(inputs, outputs, tuple(kernel), tuple(stride), padding, missing, groups)  # type: ignore[arg-type]


def pooled(dimension: int, stride: Sequence[int], layers: nn.Module) -> nn.Module:
    """Put max pooling with windows of ``stride`` before layers: *space becomes *ceil(space / stride)."""
    if max(stride) == 1:
        return layers
    pooling = MAX_POOLINGS[dimension](tuple(stride), tuple(stride), ceil_mode=True)  # type: ignore[arg-type]
    return nn.Sequential(pooling, layers)


def unit(
    dimension: int,
    inputs: int,
    outputs: int,
    *,
    kernel: Sequence[int],
    stride: Sequence[int] | None = None,
    normalization: Normalization = "batch",
) -> nn.Sequential:
    """Return a convolution, its normalization and ReLU."""
    return nn.Sequential(
        convolution(dimension, inputs, outputs, kernel=kernel, stride=stride),
        norm(dimension, outputs, normalization),
        nn.ReLU(inplace=True),
    )


def units(
    dimension: int,
    inputs: int,
    outputs: int,
    *,
    kernel: Sequence[int],
    count: int,
    stride: Sequence[int] | None = None,
    normalization: Normalization = "batch",
) -> nn.Sequential:
    """Return ``count`` units (see :func:`unit`); the first one has the stride."""
    first = unit(dimension, inputs, outputs, kernel=kernel, stride=stride, normalization=normalization)
    others = (unit(dimension, outputs, outputs, kernel=kernel, normalization=normalization) for _ in range(count - 1))
    return nn.Sequential(first, *others)
