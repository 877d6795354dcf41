"""Building blocks of the U-Nets."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from autoseg.networks.channels_last import (
    EPSILON,
    is_channels_last,
    mixed,
    mixes_voxelwise,
    normalized,
    prefers_channels_last,
    to_channels_last,
    upsampled,
)
from autoseg.networks.kernel_gradient import convolved, has_own_gradient

SLOPE = 0.01
"""Negative slope of LeakyReLU (nnU-Net)."""


class Convolution3d(nn.Conv3d):
    """A 3D convolution with a correct gradient on CPUs, even if the kernel is longer than the input.

    For such small inputs, oneDNN's gradient of the weights in bfloat16 reads uninitialized memory (seen in PyTorch 2.13
    for a kernel of 3 voxels and an input of 2, and for 5 and 4). They are therefore computed in float32, at almost no
    cost.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features [B,out_channels,*space]."""
        if mixes_voxelwise(self) and is_channels_last(x):
            return mixed(x, self)
        if has_own_gradient(self, x):
            return convolved(x, self)
        longer = any(k > n for k, n in zip(self.kernel_size, x.shape[2:], strict=True))
        if not longer or x.device.type != "cpu":
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.to(self.weight.dtype))


CONVOLUTIONS = {2: nn.Conv2d, 3: Convolution3d}
POOLINGS = {2: nn.AvgPool2d, 3: nn.AvgPool3d}


class InstanceNorm(nn.Module):
    """Instance normalization with a learned scale and shift for each channel (Ulyanov et al. 2016).

    CPUs compute it as group normalization with one channel per group. The result is the same, and bfloat16 takes half
    the time. Channels-last features use a custom gradient. Other devices use instance normalization, because autocast
    converts group normalization to float32, which needs twice the memory.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor, slope: float = 1.0) -> torch.Tensor:
        """Normalize x [B,C,*space]; statistics, scale and shift are float32, the result has the type of x.

        LeakyReLU with the negative slope ``slope`` follows; a slope of 1 omits it.
        """
        if torch.is_grad_enabled() and is_channels_last(x):
            return normalized(x, self.weight, self.bias, slope)
        if x.device.type == "cpu":
            x = F.group_norm(x, len(self.weight), self.weight, self.bias, EPSILON)
        else:
            x = F.instance_norm(x, weight=self.weight, bias=self.bias, eps=EPSILON)
        return x if slope == 1 else F.leaky_relu_(x, slope)


class ConvNorm(nn.Module):
    """Convolution, instance normalization and, with ``activation``, LeakyReLU."""

    def __init__(
        self,
        dimension: int,
        inputs: int,
        outputs: int,
        *,
        kernel: Sequence[int],
        stride: Sequence[int] | None = None,
        activation: bool = True,
    ) -> None:
        super().__init__()
        padding = tuple(k // 2 for k in kernel)
        strides = tuple(stride or [1] * dimension)
        self.convolution = CONVOLUTIONS[dimension](inputs, outputs, tuple(kernel), strides, padding)  # type: ignore[arg-type]
        self.norm = InstanceNorm(outputs)
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features [B,outputs,*space / stride]."""
        if prefers_channels_last(x, self.convolution.out_channels):
            # Convert the result too: PyTorch may return the usual layout for a batch of one small image.
            x = to_channels_last(self.convolution(to_channels_last(x)))
        else:
            x = self.convolution(x)
        return self.norm(x, SLOPE if self.activation else 1.0)  # type: ignore[no-any-return]


class ResidualBlock(nn.Module):
    """Two convolutions with a residual connection (He et al. 2016), as in nnU-Net's residual encoder.

    If the block strides, average pooling reduces the shortcut to the same size. If the number of features changes, a
    1×1 convolution and normalization follow in the shortcut.
    """

    def __init__(
        self, dimension: int, inputs: int, outputs: int, *, kernel: Sequence[int], stride: Sequence[int]
    ) -> None:
        super().__init__()
        self.first = ConvNorm(dimension, inputs, outputs, kernel=kernel, stride=stride)
        self.second = ConvNorm(dimension, outputs, outputs, kernel=kernel, activation=False)
        skip: list[nn.Module] = []
        if max(stride) > 1:
            skip.append(POOLINGS[dimension](tuple(stride), tuple(stride), ceil_mode=True))  # type: ignore[arg-type]
        if inputs != outputs:
            skip.append(ConvNorm(dimension, inputs, outputs, kernel=[1] * dimension, activation=False))
        self.skip = nn.Sequential(*skip)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features [B,outputs,*space / stride]."""
        return F.leaky_relu(self.second(self.first(x)) + self.skip(x), SLOPE)


class Upsampling2d(nn.ConvTranspose2d):
    """Transposed convolution whose stride is its kernel, so that no two inputs meet in an output voxel."""

    def forward(self, x: torch.Tensor, output_size: list[int] | None = None) -> torch.Tensor:
        """Return features [B,outputs,*space × stride]."""
        return _as_product(x, self) if _learns_on_cpu(x) else super().forward(x, output_size)


class Upsampling3d(nn.ConvTranspose3d):
    """Transposed convolution whose stride is its kernel, so that no two inputs meet in an output voxel."""

    def forward(self, x: torch.Tensor, output_size: list[int] | None = None) -> torch.Tensor:
        """Return features [B,outputs,*space × stride]."""
        if is_channels_last(x):
            return upsampled(x, self)
        return _as_product(x, self) if _learns_on_cpu(x) else super().forward(x, output_size)


TRANSPOSED = {2: Upsampling2d, 3: Upsampling3d}


def _learns_on_cpu(x: torch.Tensor) -> bool:
    return x.device.type == "cpu" and torch.is_grad_enabled()


def _as_product(x: torch.Tensor, layer: nn.ConvTranspose2d | nn.ConvTranspose3d) -> torch.Tensor:
    """Compute the transposed convolution as one matrix product, then rearrange the result.

    On CPUs this makes the gradient of the weights two to five times as fast.
    """
    batch, inputs, *space = x.shape
    outputs, *kernel = layer.weight.shape[1:]
    matrix = layer.weight.movedim(0, -1).reshape(1, -1, inputs).to(x.dtype).expand(batch, -1, -1)
    shift = torch.zeros(outputs) if layer.bias is None else layer.bias
    shift = shift.to(x.dtype).repeat_interleave(math.prod(kernel))[None, :, None]
    parts = torch.baddbmm(shift, matrix, x.flatten(2)).view(batch, outputs, *kernel, *space)
    axes = len(space)
    # [B,outputs,*kernel,*space] becomes [B,outputs,z,kernel z,y,kernel y,…].
    places = [place for axis in range(axes) for place in (2 + axes + axis, 2 + axis)]
    shape = [size * stride for size, stride in zip(space, kernel, strict=True)]
    return parts.permute(0, 1, *places).reshape(batch, outputs, *shape)


def stack(
    dimension: int, inputs: int, outputs: int, *, kernel: Sequence[int], stride: Sequence[int], count: int
) -> nn.Sequential:
    """Return the ``count`` convolutions of a stage; the first one has the stride."""
    first = ConvNorm(dimension, inputs, outputs, kernel=kernel, stride=stride)
    return nn.Sequential(first, *(ConvNorm(dimension, outputs, outputs, kernel=kernel) for _ in range(count - 1)))


def initialize(module: nn.Module) -> None:
    """Initialize convolution weights for LeakyReLU (He et al. 2015) and biases with 0."""
    if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        nn.init.kaiming_normal_(module.weight, a=SLOPE)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
