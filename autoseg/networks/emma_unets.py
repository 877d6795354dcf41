"""EMMA's two U-Nets: one with added skips and max pooling, one with concatenated skips and strided convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn

from autoseg.networks import networks
from autoseg.networks.blocks import CONVOLUTIONS, TRANSPOSED, initialize
from autoseg.networks.encoder_decoder import check_stages, for_each_stage
from autoseg.networks.layers import Normalization, pooled, units
from autoseg.networks.planning import Plans, Topology, doubling_features, stage_arguments
from autoseg.networks.u_shape import UShape, concatenate
from autoseg.registry import Component


class _EmmaUNet(UShape):
    """Convolutions followed by normalization and ReLU, all zero-padded (Kamnitsas et al. 2018).

    ``features``, ``kernels`` and ``strides`` have one entry for each stage, finest first. The numbers of features and
    convolutions are not published.
    """

    name: ClassVar[str]
    adds: ClassVar[bool]
    """True: skips are added and stages begin with max pooling. False: concatenated skips and strided convolutions."""

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
        normalization: Normalization = "batch",
    ) -> None:
        check_stages(self.name, dimension=dimension, features=features, kernels=kernels, strides=strides)
        counts = for_each_stage(self.name, "convolutions", convolutions, len(features))
        widths = [in_channels, *features]

        def layers(stage: int, inputs: int, stride: Sequence[int] | None = None) -> nn.Sequential:
            return units(
                dimension,
                inputs,
                features[stage],
                kernel=kernels[stage],
                count=counts[stage],
                stride=stride,
                normalization=normalization,
            )

        def up(stage: int) -> nn.Module:
            stride = tuple(strides[stage + 1])
            return TRANSPOSED[dimension](features[stage + 1], features[stage], stride, stride)  # type: ignore[arg-type]

        coarse_to_fine = list(reversed(range(len(features) - 1)))
        super().__init__(
            encoder=[
                pooled(dimension, stride, layers(stage, widths[stage]))
                if self.adds
                else layers(stage, widths[stage], stride)
                for stage, stride in enumerate(strides)
            ],
            up=[up(stage) for stage in coarse_to_fine],
            decoder=[layers(stage, (1 if self.adds else 2) * features[stage]) for stage in coarse_to_fine],
            heads=[CONVOLUTIONS[dimension](features[0], outputs, 1)],
            strides=strides,
            join=torch.add if self.adds else concatenate,
        )
        self.apply(initialize)


def unet_sum_spec(dimension: int, topology: Topology, first_features: int) -> Component:
    """Return the plan of EMMA's U-Net-1 with the features of nnU-Net."""
    return _spec("unet_sum", dimension, topology, first_features)


def unet_strided_spec(dimension: int, topology: Topology, first_features: int) -> Component:
    """Return the plan of EMMA's U-Net-2 with the features of nnU-Net."""
    return _spec("unet_strided", dimension, topology, first_features)


def _spec(name: str, dimension: int, topology: Topology, first_features: int) -> Component:
    return {
        "name": name,
        "features": doubling_features(dimension, topology.stages, first_features),
        **stage_arguments(topology),
        "convolutions": 2,
    }


@networks.register("unet_sum")
class SummingUNet(_EmmaUNet):
    """EMMA's U-Net-1: max pooling, and skips that are added (after Guerrero et al. 2018)."""

    plans: ClassVar[Plans] = {"unet_sum": unet_sum_spec}

    name = "unet_sum"
    adds = True


@networks.register("unet_strided")
class StridedUNet(_EmmaUNet):
    """EMMA's U-Net-2: strided convolutions, and skips that are concatenated."""

    plans: ClassVar[Plans] = {"unet_strided": unet_strided_spec}

    name = "unet_strided"
    adds = False
