"""V-Net: residual stages of large kernels, strided down and up."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from autoseg.networks import networks
from autoseg.networks.blocks import CONVOLUTIONS, TRANSPOSED, initialize
from autoseg.networks.encoder_decoder import check_stages, for_each_stage
from autoseg.networks.layers import Normalization, Residual, convolution, norm
from autoseg.networks.prelu import PReLU
from autoseg.networks.u_shape import UShape


@networks.register("vnet")
class VNet(UShape):
    """Each stage adds its input to its last convolution's result (Milletari et al. 2016, figure 2).

    ``features``, ``kernels`` and ``strides`` have one entry for each stage, finest first; ``convolutions`` as well, or
    a number for all, or None for 1, 2, 3, 3 and so on. The decoder's stages have twice their stage's features and as
    many convolutions. Stages change size by convolutions whose kernel is their stride; activations are PReLU. The paper
    has kernels of 5, one to three convolutions a stage, and no ``normalization``.
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
        convolutions: int | Sequence[int] | None = None,
        normalization: Normalization = "none",
    ) -> None:
        check_stages("vnet", dimension=dimension, features=features, kernels=kernels, strides=strides)
        published = [min(index + 1, 3) for index in range(len(features))]
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
            # The coarsest stage has its own features; those that the decoder has been through have twice theirs.
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
    """The channels of an image one after the other, over and over, until there are ``width``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, [index % x.shape[1] for index in range(self.width)]]
