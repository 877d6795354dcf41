"""A fully convolutional network with a dilated ResNet-50 as encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge
from torch import nn
from torch.nn import functional as F

from autoseg.networks import networks
from autoseg.networks.blocks import CONVOLUTIONS, initialize
from autoseg.networks.layers import LINEAR, MAX_POOLINGS, Residual, norm
from autoseg.networks.planning import Plans, Topology
from autoseg.networks.taps import encoder_taps
from autoseg.registry import Component

BLOCKS = (3, 4, 6, 3)
"""Bottleneck blocks of the four stages (He et al. 2016, table 1)."""
EXPANSION = 4
"""Ratio of the output features of a block to its inner features."""
STRIDES = (1, 2, 1, 1)
DILATIONS = (1, 1, 2, 4)
"""Dilations of the four stages.

The last two stages dilate instead of striding, so that features have an eighth of the image size. The first block of a
stage uses the dilation of the previous stage."""


WIDER = 2
"""Ratio of the first features of ResNet-50 (64) to those of nnU-Net (32)."""


def fcn_resnet50_spec(dimension: int, topology: Topology, first_features: int) -> Component:
    """Return the plan of the baseline of Joakimsen 2021; it does not depend on the patch size."""
    return {"name": "fcn_resnet50", "features": WIDER * first_features}


@networks.register("fcn_resnet50")
class FCNResNet50(nn.Module):
    """ResNet-50 to an eighth of the resolution, a 3×3 and a 1×1 convolution, and interpolation to the image size.

    This is the baseline of Joakimsen 2021. It follows the torchvision model, but starts from random weights and has no
    auxiliary head. In 3D, kernels are cubes. ``features`` are those of the first stage: 64 in ResNet-50. There is no
    dropout before the last layer, so that training is reproducible bit for bit. Images may have any size.
    """

    plans: ClassVar[Plans] = {"fcn_resnet50": fcn_resnet50_spec}

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
        """Hidden stages by name; ``hidden_0`` are the features that the classifier reads."""
        *_, activation, _classifier = self.head.children()
        return {"stem": self.stem} | encoder_taps(self.stages) | {"hidden_0": activation}

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
    """Return a convolution without bias, its normalization and ReLU."""
    padding = dilation * (kernel // 2)
    layer = CONVOLUTIONS[dimension](inputs, outputs, kernel, stride, padding, dilation, bias=False)
    return layer, norm(dimension, outputs), nn.ReLU(inplace=True)


def _bottleneck(dimension: int, inputs: int, width: int, *, stride: int, dilation: int) -> Residual:
    """Return a block of 1×1, 3×3 and 1×1 convolutions; the 3×3 convolution has the stride or dilation."""
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
