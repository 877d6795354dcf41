"""nnU-Net's plain U-Net, in 2D and 3D."""

from __future__ import annotations

from collections.abc import Sequence

from autoseg.networks import networks
from autoseg.networks.blocks import stack
from autoseg.networks.encoder_decoder import EncoderDecoder, check_stages, for_each_stage


@networks.register("unet")
class UNet(EncoderDecoder):
    """Convolutions of each stage, one of which strides on the way down; transposed convolutions on the way up.

    ``features``, ``kernels`` and ``strides`` have one entry for each stage, finest first (Isensee et al. 2021).
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
