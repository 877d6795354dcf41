"""V-Net: residual stages with large kernels, strided and transposed convolutions between stages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn

from autoseg.networks import networks
from autoseg.networks.blocks import CONVOLUTIONS, TRANSPOSED, initialize
from autoseg.networks.encoder_decoder import check_stages, for_each_stage
from autoseg.networks.layers import Normalization, Residual, convolution, norm
from autoseg.networks.planning import Plans, Topology
from autoseg.networks.prelu import PReLU
from autoseg.networks.u_shape import UShape
from autoseg.registry import Component

KERNEL = 5
"""Kernel size in voxels; it replaces kernels of 3 in nnU-Net's rules (Milletari et al. 2016)."""
PUBLISHED_CONVOLUTIONS = (1, 2, 3)
"""Convolutions of the first stages; each later stage has as many as the last."""
MOST_FEATURES = 256


def published_convolutions(stages: int) -> list[int]:
    """Return the convolutions of each stage in the paper: 1, 2, 3, and 3 in all later stages."""
    return [PUBLISHED_CONVOLUTIONS[min(stage, len(PUBLISHED_CONVOLUTIONS) - 1)] for stage in range(stages)]


def vnet_spec(dimension: int, topology: Topology, first_features: int) -> Component:
    """Return the plan of V-Net: its first stage has 16 features if nnU-Net's has 32.

    Instance normalization is added to the network of the paper, because the learning rates used here suit normalized
    networks.
    """
    return {
        "name": "vnet",
        "features": [min(first_features // 2 * 2**stage, MOST_FEATURES) for stage in range(topology.stages)],
        "kernels": [[1 if k == 1 else KERNEL for k in kernel] for kernel in topology.kernels],
        "strides": [list(stride) for stride in topology.strides],
        "convolutions": published_convolutions(topology.stages),
        "normalization": "instance",
    }


@networks.register("vnet")
class VNet(UShape):
    """A U-Net in which each stage adds its input to the result of its last convolution (Milletari et al. 2016, fig. 2).

    ``features``, ``kernels`` and ``strides`` have one entry for each stage, finest first. ``convolutions`` is such a
    list too, or one number for all stages, or None for 1, 2, 3, 3 and so on. A decoder stage has as many convolutions
    as the encoder stage of the same resolution, and twice as many features. Down- and upsampling use convolutions whose
    kernel equals the stride; activations are PReLU. The paper has kernels of 5, one to three convolutions per stage,
    and no ``normalization``.
    """

    plans: ClassVar[Plans] = {"vnet": vnet_spec}

    def __init__(
        self,
        *,
        in_channels: int,
        outputs: int,
        dimension: int,
        features: Sequence[int],
        kernels: Sequence[Sequence[int]],
        strides: Sequence[Sequence[int]],
        convolutions: int | Sequence[int] | None = None,
        normalization: Normalization = "none",
    ) -> None:
        check_stages("vnet", dimension=dimension, features=features, kernels=kernels, strides=strides)
        published = published_convolutions(len(features))
        counts = for_each_stage("vnet", "convolutions", convolutions or published, len(features))

        def active(layer: nn.Module, channels: int) -> list[nn.Module]:
            return [layer, norm(dimension, channels, normalization), PReLU(channels)]

        def stage(index: int, inputs: int, width: int) -> Residual:
            layers: list[nn.Module] = []
            for number in range(counts[index]):
                channels = width if number else inputs
                layers += active(convolution(dimension, channels, width, kernel=kernels[index]), width)
            shortcut = None if inputs == width else _Repeated(width)
            # The last activation follows the sum.
            return Residual(nn.Sequential(*layers[:-1]), shortcut, layers[-1])

        def down(index: int) -> nn.Sequential:
            stride = tuple(strides[index])
            layer = CONVOLUTIONS[dimension](features[index - 1], features[index], stride, stride)  # type: ignore[arg-type]
            return nn.Sequential(*active(layer, features[index]), stage(index, features[index], features[index]))

        def up(index: int) -> nn.Sequential:
            stride = tuple(strides[index + 1])
            # Decoder stages have twice the features of their encoder stage; the coarsest stage has no decoder.
            inputs = features[index + 1] * (1 if index + 2 == len(features) else 2)
            layer = TRANSPOSED[dimension](inputs, features[index], stride, stride)  # type: ignore[arg-type]
            return nn.Sequential(*active(layer, features[index]))

        coarse_to_fine = list(reversed(range(len(features) - 1)))
        width = features[0] * (1 if len(features) == 1 else 2)
        super().__init__(
            encoder=[stage(0, in_channels, features[0]), *(down(i) for i in range(1, len(features)))],
            up=[up(index) for index in coarse_to_fine],
            decoder=[stage(index, 2 * features[index], 2 * features[index]) for index in coarse_to_fine],
            heads=[CONVOLUTIONS[dimension](width, outputs, 1)],
            strides=strides,
        )
        self.apply(initialize)


class _Repeated(nn.Module):
    """Repeat the channels of an image cyclically to ``width`` channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, [index % x.shape[1] for index in range(self.width)]]
