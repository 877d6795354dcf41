"""The U-Net of SciNets: batch normalization after the activation, 3×3 upsampling and head, any image size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn
from torch.nn import functional as F

from autoseg.networks import networks
from autoseg.networks.blocks import initialize
from autoseg.networks.encoder_decoder import check_stages, for_each_stage
from autoseg.networks.layers import LINEAR, Normalization, Residual, convolution, norm, pooled, upsampling
from autoseg.networks.planning import Plans, Topology, stage_arguments
from autoseg.networks.u_shape import UShape
from autoseg.registry import Component

Layer = Literal["plain", "residual"]


WIDER = 2
"""Ratio of the first features of the thesis (64) to those of nnU-Net (32)."""
MOST_FEATURES = {2: 1024, 3: 320}
"""Largest number of features of a stage: that of the thesis in 2D, that of nnU-Net in 3D."""


def unet_scinets_spec(dimension: int, topology: Topology, first_features: int) -> Component:
    """Return the plan of the U-Net of Moe 2019 with plain layers."""
    return {
        "name": "unet_scinets",
        "features": [min(WIDER * first_features * 2**i, MOST_FEATURES[dimension]) for i in range(topology.stages)],
        **stage_arguments(topology),
        "convolutions": 2,
        "layer": "plain",
    }


@networks.register("unet_scinets")
class SciNetsUNet(UShape):
    """A U-Net with max pooling in the encoder and transposed convolutions in the decoder (Moe 2019).

    ``features``, ``kernels`` and ``strides`` have one entry for each stage, finest first. ``layer`` is ``plain`` (a
    convolution, ReLU, normalization) or ``residual`` (the pre-activation layers of He et al. 2016b). With
    ``shortcut_norm``, the 1×1 shortcut of residual layers is normalized; without it, in the thesis, these networks
    diverged. Images may have any size, and logits have the size of the image: if pooling rounds a size, upsampled
    features are interpolated to the size of the skip.
    """

    plans: ClassVar[Plans] = {"unet_scinets": unet_scinets_spec}

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
        layer: Layer = "plain",
        shortcut_norm: bool = True,
        normalization: Normalization = "batch",
    ) -> None:
        check_stages("unet_scinets", dimension=dimension, features=features, kernels=kernels, strides=strides)
        counts = for_each_stage("unet_scinets", "convolutions", convolutions, len(features))
        make = _Layers(dimension, layer, shortcut_norm, normalization)
        widths = [in_channels, *features]
        coarse_to_fine = list(reversed(range(len(features) - 1)))
        super().__init__(
            encoder=[
                pooled(dimension, strides[i], make.several(widths[i], features[i], kernels[i], counts[i]))
                for i in range(len(features))
            ],
            up=[make.one(features[i + 1], features[i], kernels[i], strides[i + 1]) for i in coarse_to_fine],
            decoder=[make.several(2 * features[i], features[i], kernels[i], counts[i]) for i in coarse_to_fine],
            heads=[convolution(dimension, features[0], outputs, kernel=kernels[0])],
            strides=strides,
            join=_resize_and_concatenate,
        )
        self.divisor = (1,) * dimension
        self.apply(initialize)


@dataclass(frozen=True)
class _Layers:
    """Builds layers of one kind."""

    dimension: int
    layer: Layer
    shortcut_norm: bool
    normalization: Normalization

    def one(self, inputs: int, outputs: int, kernel: Sequence[int], up: Sequence[int] | None = None) -> nn.Module:
        """Return a layer; ``up`` is the upsampling factor for each axis."""
        if self.layer == "residual":
            return _preactivated(self, inputs, outputs, kernel, up)
        return nn.Sequential(self.convolution(inputs, outputs, kernel, up), nn.ReLU(inplace=True), self.norm(outputs))

    def several(self, inputs: int, outputs: int, kernel: Sequence[int], count: int) -> nn.Sequential:
        """Return ``count`` layers."""
        return nn.Sequential(*(self.one(outputs if i else inputs, outputs, kernel) for i in range(count)))

    def convolution(self, inputs: int, outputs: int, kernel: Sequence[int], up: Sequence[int] | None) -> nn.Module:
        """Return a convolution; a transposed one if ``up`` is given."""
        if up is None:
            return convolution(self.dimension, inputs, outputs, kernel=kernel)
        return upsampling(self.dimension, inputs, outputs, kernel=kernel, stride=up)

    def norm(self, channels: int) -> nn.Module:
        """Return a normalization."""
        return norm(self.dimension, channels, self.normalization)


def _preactivated(
    make: _Layers, inputs: int, outputs: int, kernel: Sequence[int], up: Sequence[int] | None
) -> Residual:
    """Return a residual layer: two times normalization, ReLU and convolution; the first one upsamples with ``up``."""
    branch = nn.Sequential(
        make.norm(inputs),
        # Without normalization, ReLU and shortcut read the same tensor, so that ReLU must not change it in place.
        nn.ReLU(inplace=make.normalization != "none"),
        make.convolution(inputs, outputs, kernel, up),
        make.norm(outputs),
        nn.ReLU(inplace=True),
        make.convolution(outputs, outputs, kernel, None),
    )
    shortcut: list[nn.Module] = []
    if inputs != outputs:
        shortcut.append(make.convolution(inputs, outputs, [1] * make.dimension, None))
        shortcut.append(make.norm(outputs) if make.shortcut_norm else nn.Identity())
    if up is not None:
        # The thesis does not describe upsampling of shortcuts. Interpolation adds no weights.
        shortcut.append(nn.Upsample(scale_factor=tuple(map(float, up)), mode=LINEAR[make.dimension]))
    return Residual(branch, nn.Sequential(*shortcut))


def _resize_and_concatenate(up: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
    space = skip.shape[2:]
    if up.shape[2:] != space:
        up = F.interpolate(up, tuple(space), mode=LINEAR[len(space)])
    return torch.cat([up, skip], dim=1)
