"""MedNeXt: a U-Net of ConvNeXt blocks, with residual blocks for down- and upsampling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar

import torch
from torch import nn

from autoseg.networks import networks
from autoseg.networks.blocks import CONVOLUTIONS, InstanceNorm
from autoseg.networks.encoder_decoder import check_stages, for_each_stage
from autoseg.networks.layers import Residual, convolution, upsampling
from autoseg.networks.planning import Plans, Topology
from autoseg.networks.u_shape import UShape
from autoseg.registry import Component

SIZES = {
    "mednext": ((2, 2, 2, 2, 2), (2, 2, 2, 2, 2)),
    "mednext_b": ((2, 2, 2, 2, 2), (2, 3, 4, 4, 4)),
    "mednext_m": ((3, 4, 4, 4, 4), (2, 3, 4, 4, 4)),
    "mednext_l": ((3, 4, 8, 8, 8), (3, 4, 8, 8, 8)),
}
"""Blocks and expansions of the five stages of S, B, M and L (Roy et al. 2023); further stages equal the fifth."""
KERNELS = {"": 3, "_k5": 5}
"""Depthwise kernel size in voxels, by suffix of the planner name; it replaces kernels of 3 in nnU-Net's rules."""
MOST_FEATURES = 512
"""Largest number of features of a stage: that of the fifth stage in the paper."""


def mednext_spec(dimension: int, topology: Topology, first_features: int, *, size: str, kernel: int) -> Component:
    """Return the plan of MedNeXt of one size."""
    blocks, expansions = SIZES[size]
    stages = [min(stage, len(blocks) - 1) for stage in range(topology.stages)]
    return {
        "name": "mednext",
        "features": [min(first_features * 2**stage, MOST_FEATURES) for stage in range(topology.stages)],
        "kernels": [[1 if k == 1 else kernel for k in kernels] for kernels in topology.kernels],
        "strides": [list(stride) for stride in topology.strides],
        "blocks": [blocks[stage] for stage in stages],
        "expansions": [expansions[stage] for stage in stages],
        "deep_supervision": True,
    }


def _planned() -> Plans:
    """Return the plan functions of all sizes and kernels, by planner name."""
    return {
        f"{size}{ending}": partial(mednext_spec, size=size, kernel=kernel)
        for size in SIZES
        for ending, kernel in KERNELS.items()
    }


@networks.register("mednext")
class MedNeXt(UShape):
    """A U-Net of inverted bottlenecks: depthwise convolution, then features expand and shrink (Roy et al. 2023).

    ``features``, ``kernels``, ``strides``, ``blocks`` and ``expansions`` have one entry for each stage, finest first;
    the last two may be one number for all stages. A decoder stage has as many blocks and the same expansion as the
    encoder stage of the same resolution. Skips are added. The authors' code differs in two details: it has one more
    head, at the coarsest stage, and it pads the missing voxel of transposed convolutions at the start, not at the end.
    """

    plans: ClassVar[Plans] = _planned()

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
    """Return a block that keeps the resolution and the number of features."""
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
    """Return a block that changes resolution and features; ``make`` builds a strided or a transposed convolution.

    The shortcut is a 1×1 convolution of the same kind.
    """
    inputs, outputs = widths
    depthwise = make(dimension, inputs, inputs, kernel=kernel, stride=stride, groups=inputs)
    shortcut = make(dimension, inputs, outputs, kernel=[1] * dimension, stride=stride)
    return Residual(_bottleneck(dimension, depthwise, outputs, ratio), shortcut)


def _bottleneck(dimension: int, depthwise: nn.Module, outputs: int, ratio: int) -> nn.Sequential:
    """Return a depthwise convolution, instance normalization, and two 1×1 convolutions with GELU in between."""
    inputs: int = depthwise.out_channels  # type: ignore[assignment]
    return nn.Sequential(
        depthwise,
        InstanceNorm(inputs),
        CONVOLUTIONS[dimension](inputs, ratio * inputs, 1),
        nn.GELU(),
        CONVOLUTIONS[dimension](ratio * inputs, outputs, 1),
    )
