"""nnU-Net's plain U-Net, in 2D and 3D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from autoseg.networks import networks
from autoseg.networks.blocks import stack
from autoseg.networks.encoder_decoder import EncoderDecoder, check_stages, for_each_stage
from autoseg.networks.planning import Plans, Topology, doubling_features, stage_arguments
from autoseg.registry import Component


def unet_spec(dimension: int, topology: Topology, first_features: int) -> Component:
    """Return the plan of nnU-Net's plain U-Net: features double at each stage; stages have two convolutions."""
    return {
        "name": "unet",
        "features": doubling_features(dimension, topology.stages, first_features),
        **stage_arguments(topology),
        "convolutions": 2,
        "decoder_convolutions": 2,
        "deep_supervision": True,
    }


@networks.register("unet")
class UNet(EncoderDecoder):
    """A U-Net with strided convolutions in the encoder and transposed convolutions in the decoder.

    ``features``, ``kernels`` and ``strides`` have one entry for each stage, finest first (Isensee et al. 2021).
    """

    plans: ClassVar[Plans] = {"unet": unet_spec}

    def __init__(
        self,
        *,
        in_channels: int,
        outputs: int,
        dimension: int,
        features: Sequence[int],
        kernels: Sequence[Sequence[int]],
        strides: Sequence[Sequence[int]],
        convolutions: int | Sequence[int] = 2,
        decoder_convolutions: int | Sequence[int] = 2,
        deep_supervision: bool = True,
    ) -> None:
        check_stages("unet", dimension=dimension, features=features, kernels=kernels, strides=strides)
        counts = for_each_stage("unet", "convolutions", convolutions, len(features))
        inputs = [in_channels, *features]
        super().__init__(
            dimension=dimension,
            outputs=outputs,
            encoder=[
                stack(
                    dimension,
                    inputs[stage],
                    features[stage],
                    kernel=kernels[stage],
                    stride=strides[stage],
                    count=counts[stage],
                )
                for stage in range(len(features))
            ],
            features=features,
            kernels=kernels,
            strides=strides,
            decoder_convolutions=for_each_stage(
                "unet", "decoder_convolutions", decoder_convolutions, len(features) - 1
            ),
            deep_supervision=deep_supervision,
        )
