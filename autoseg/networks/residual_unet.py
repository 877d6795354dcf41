"""nnU-Net's U-Net with a residual encoder, in 2D and 3D."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from autoseg.networks import networks
from autoseg.networks.blocks import ConvNorm, ResidualBlock
from autoseg.networks.encoder_decoder import EncoderDecoder, check_stages, for_each_stage


@networks.register("residual_unet")
class ResidualUNet(EncoderDecoder):
    """A stem, residual blocks in each stage of the encoder, and a light decoder (Isensee et al. 2024).

    ``features``, ``kernels``, ``strides`` and ``blocks`` have one entry for each stage, finest first.
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
        blocks: int | Sequence[int],
        decoder_convolutions: int | Sequence[int] = 1,
        deep_supervision: bool = True,
    ) -> None:
        check_stages("residual_unet", dimension=dimension, features=features, kernels=kernels, strides=strides)
        counts = for_each_stage("residual_unet", "blocks", blocks, len(features))
        stages = [
            _stage(
                dimension,
                features[max(stage - 1, 0)],
                features[stage],
                kernel=kernels[stage],
                stride=strides[stage],
                blocks=counts[stage],
            )
            for stage in range(len(features))
        ]
        stem = ConvNorm(dimension, in_channels, features[0], kernel=kernels[0])
        super().__init__(
            dimension=dimension,
            outputs=outputs,
            encoder=[nn.Sequential(stem, stages[0]), *stages[1:]],
            features=features,
            kernels=kernels,
            strides=strides,
            decoder_convolutions=for_each_stage(
                "residual_unet", "decoder_convolutions", decoder_convolutions, len(features) - 1
            ),
            deep_supervision=deep_supervision,
        )


def _stage(
    dimension: int, inputs: int, outputs: int, *, kernel: Sequence[int], stride: Sequence[int], blocks: int
) -> nn.Sequential:
    first = ResidualBlock(dimension, inputs, outputs, kernel=kernel, stride=stride)
    others = (
        ResidualBlock(dimension, outputs, outputs, kernel=kernel, stride=[1] * dimension) for _ in range(blocks - 1)
    )
    return nn.Sequential(first, *others)
