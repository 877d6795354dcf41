"""A fully convolutional network on a dilated ResNet-50."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import Ge
from torch import nn
from torch.nn import functional as F

from autoseg.networks import networks
from autoseg.networks.blocks import CONVOLUTIONS, initialize
from autoseg.networks.layers import LINEAR, MAX_POOLINGS, Residual, norm

BLOCKS = (3, 4, 6, 3)
"""Bottleneck blocks of the four stages (He et al. 2016, table 1)."""
EXPANSION = 4
"""A block's results have so many times its own features."""
STRIDES = (1, 2, 1, 1)
DILATIONS = (1, 1, 2, 4)
"""The last two stages dilate where ResNet-50 strides, so that features are an eighth of the image's size. The first
block of a stage still has the dilation of the stage before."""


@networks.register("fcn_resnet50")
class FCNResNet50(nn.Module):
    """ResNet-50 at an eighth of the resolution, a 3×3 and a 1×1 convolution, and interpolation to the image's size.

    The baseline of Joakimsen 2021, after torchvision's, from random weights and without its auxiliary head; in 2D and,
    with cubes for squares, in 3D. ``features`` of the first stage: 64 in ResNet-50. No dropout before the last layer:
    training repeats bit for bit. Images may have any size.
    """

    def __init__(self, *, in_channels: int, outputs: int, dimension: int, features: Annotated[int, Ge(4)] = 64) -> None:
        super().__init__()
        self.divisor, self.margin = (1,) * dimension, (0,) * dimension
        self.stem = nn.Sequential(
            *_unit(dimension, in_channels, features, kernel=7, stride=2), MAX_POOLINGS[dimension](3, 2, 1)
        )
        self.stages = nn.ModuleList()
        inputs, dilation = features, 1
        for stage, count in enumerate(BLOCKS):
            width, blocks = features * 2**stage, nn.Sequential()
            for block in range(count):
                stride = STRIDES[stage] if block == 0 else 1
                blocks.append(_bottleneck(dimension, inputs, width, stride=stride, dilation=dilation))
                inputs, dilation = EXPANSION * width, DILATIONS[stage]
            self.stages.append(blocks)
        middle = inputs // 4
        self.head = nn.Sequential(
            *_unit(dimension, inputs, middle, kernel=3), CONVOLUTIONS[dimension](middle, outputs, 1)
        )
        self.apply(initialize)

    @property
    def taps(self) -> dict[str, nn.Module]:
        """Hidden stages that losses may read, by name."""
        return {"stem": self.stem} | {f"stages.{index}": stage for index, stage in enumerate(self.stages)}

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return one level of logits [B,outputs,*space] of images [B,C,*space]."""
        space = tuple(x.shape[2:])
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return [F.interpolate(self.head(x), space, mode=LINEAR[len(space)])]


def _unit(
    dimension: int, inputs: int, outputs: int, *, kernel: int, stride: int = 1, dilation: int = 1
) -> Sequence[nn.Module]:
    """List a convolution without bias, its normalization and ReLU."""
    padding = dilation * (kernel // 2)
    layer = CONVOLUTIONS[dimension](inputs, outputs, kernel, stride, padding, dilation, bias=False)
    return layer, norm(dimension, outputs), nn.ReLU(inplace=True)


def _bottleneck(dimension: int, inputs: int, width: int, *, stride: int, dilation: int) -> Residual:
    """Return a block of 1×1, 3×3 and 1×1 convolutions, of which the second strides or dilates."""
    outputs = EXPANSION * width
    branch = nn.Sequential(
        *_unit(dimension, inputs, width, kernel=1),
        *_unit(dimension, width, width, kernel=3, stride=stride, dilation=dilation),
        *_unit(dimension, width, outputs, kernel=1)[:2],
    )
    shortcut = None
    if stride > 1 or inputs != outputs:
        shortcut = nn.Sequential(*_unit(dimension, inputs, outputs, kernel=1, stride=stride)[:2])
    return Residual(branch, shortcut, nn.ReLU(inplace=True))
