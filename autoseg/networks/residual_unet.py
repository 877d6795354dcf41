"""nnU-Net's U-Net with a residual encoder, in 2D and 3D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import nn

from autoseg.networks import networks
from autoseg.networks.blocks import ConvNorm, ResidualBlock
from autoseg.networks.encoder_decoder import EncoderDecoder, check_stages, for_each_stage
from autoseg.networks.planning import Plans, Topology, doubling_features, stage_arguments
from autoseg.registry import Component

PLANNED_BLOCKS = (1, 3, 4, 6)
"""Residual blocks of the first stages; every later stage has as many as the last (nnU-Net)."""
SIZES = ("residual_unet", "residual_unet_m", "residual_unet_l", "residual_unet_xl")
"""Planner names for nnU-Net's memory targets; all use the same network."""


def residual_unet_spec(dimension: int, topology: Topology, first_features: int) -> Component:
    """Return the plan of nnU-Net's residual-encoder U-Net."""
    return {
        "name": "residual_unet",
        "features": doubling_features(dimension, topology.stages, first_features),
        **stage_arguments(topology),
        "blocks": [PLANNED_BLOCKS[min(stage, len(PLANNED_BLOCKS) - 1)] for stage in range(topology.stages)],
        "decoder_convolutions": 1,
        "deep_supervision": True,
    }


@networks.register("residual_unet")
class ResidualUNet(EncoderDecoder):
    """A stem, residual blocks in each stage of the encoder, and a light decoder (Isensee et al. 2024).

    ``features``, ``kernels``, ``strides`` and ``blocks`` have one entry for each stage, finest first.
    """

    plans: ClassVar[Plans] = dict.fromkeys(SIZES, residual_unet_spec)

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
