"""MedNeXt: a U-shape of ConvNeXt blocks, whose changes of resolution are residual as well."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from autoseg.networks import networks
from autoseg.networks.blocks import CONVOLUTIONS, InstanceNorm
from autoseg.networks.encoder_decoder import check_stages, for_each_stage
from autoseg.networks.layers import Residual, convolution, upsampling
from autoseg.networks.u_shape import UShape


@networks.register("mednext")
class MedNeXt(UShape):
    """Inverted bottlenecks: a depthwise convolution, then features expand and shrink again (Roy et al. 2023).

    ``features``, ``kernels``, ``strides``, ``blocks`` and ``expansions`` have one entry for each stage, finest first;
    the last two may be one number for all. A decoder's stage has as many blocks as the encoder's of the same size, and
    their expansion. Skips are added. The authors' code has one more head, at the coarsest stage, and pads transposed
    convolutions in front, where these end with the voxel that is missing.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        outputs: int,
        dimension: int,
        features: Sequence[int],
        kernels: Sequence[Sequence[int]],
        strides: Sequence[Sequence[int]],
        blocks: int | Sequence[int] = 2,
        expansions: int | Sequence[int] = 2,
        deep_supervision: bool = True,
    ) -> None:
        check_stages("mednext", dimension=dimension, features=features, kernels=kernels, strides=strides)
        counts = for_each_stage("mednext", "blocks", blocks, len(features))
        ratios = for_each_stage("mednext", "expansions", expansions, len(features))

        def stage(index: int) -> nn.Sequential:
            width, kernel = features[index], kernels[index]
            return nn.Sequential(*(_block(dimension, width, kernel, ratios[index]) for _ in range(counts[index])))

        def resampling(make: Callable[..., nn.Module], source: int, index: int) -> Residual:
            return _resampling(
                make,
                dimension,
                widths=(features[source], features[index]),
                kernel=kernels[index],
                stride=strides[max(source, index)],
                ratio=ratios[index],
            )

        coarse_to_fine = list(reversed(range(len(features) - 1)))
        heads = coarse_to_fine if deep_supervision and coarse_to_fine else [0]
        stem = CONVOLUTIONS[dimension](in_channels, features[0], 1)
        super().__init__(
            encoder=[nn.Sequential(stem, stage(0))]
            + [nn.Sequential(resampling(convolution, i - 1, i), stage(i)) for i in range(1, len(features))],
            up=[resampling(upsampling, index + 1, index) for index in coarse_to_fine],
            decoder=[stage(index) for index in coarse_to_fine],
            heads=[CONVOLUTIONS[dimension](features[index], outputs, 1) for index in heads],
            strides=strides,
            deep_supervision=deep_supervision,
            join=torch.add,
        )


def _block(dimension: int, width: int, kernel: Sequence[int], ratio: int) -> Residual:
    """Return a block that keeps size and features."""
    depthwise = convolution(dimension, width, width, kernel=kernel, groups=width)
    return Residual(_bottleneck(dimension, depthwise, width, ratio))


def _resampling(
    make: Callable[..., nn.Module],
    dimension: int,
    *,
    widths: tuple[int, int],
    kernel: Sequence[int],
    stride: Sequence[int],
    ratio: int,
) -> Residual:
    """Return a block from one width to another, whose depthwise convolution is ``make``: striding or transposed.

    The shortcut is a 1×1 convolution of the same kind.
    """
    inputs, outputs = widths
    depthwise = make(dimension, inputs, inputs, kernel=kernel, stride=stride, groups=inputs)
    shortcut = make(dimension, inputs, outputs, kernel=[1] * dimension, stride=stride)
    return Residual(_bottleneck(dimension, depthwise, outputs, ratio), shortcut)


def _bottleneck(dimension: int, depthwise: nn.Module, outputs: int, ratio: int) -> nn.Sequential:
    """Return a depthwise convolution, its normalization channel by channel, and two 1×1 convolutions around GELU."""
    inputs: int = depthwise.out_channels  # type: ignore[assignment]
    return nn.Sequential(
        depthwise,
        InstanceNorm(inputs),
        CONVOLUTIONS[dimension](inputs, ratio * inputs, 1),
        nn.GELU(),
        CONVOLUTIONS[dimension](ratio * inputs, outputs, 1),
    )
