"""Fully convolutional networks, plain and residual: logits of each resolution are upsampled and added."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import nn
from torch.nn import functional as F

from autoseg.networks import networks
from autoseg.networks.blocks import CONVOLUTIONS, initialize
from autoseg.networks.encoder_decoder import check_stages, for_each_stage
from autoseg.networks.layers import LINEAR, Normalization, Residual, convolution, norm, unit
from autoseg.networks.planning import Plans, Topology, doubling_features, stage_arguments
from autoseg.networks.taps import encoder_taps
from autoseg.registry import Component


def fcn_spec(dimension: int, topology: Topology, first_features: int) -> Component:
    """Return the plan of EMMA's FCN-1, with the stages and features of nnU-Net's encoder."""
    return {
        "name": "fcn",
        "features": doubling_features(dimension, topology.stages, first_features),
        **stage_arguments(topology),
        "layers": 2,
        "layer": "plain",
    }


def fcn_residual_spec(dimension: int, topology: Topology, first_features: int) -> Component:
    """Return the plan of EMMA's FCN-2: each layer is a residual block."""
    return {**fcn_spec(dimension, topology, first_features), "layer": "residual"}


def fcn_shallow_spec(dimension: int, topology: Topology, first_features: int) -> Component:
    """Return the plan of EMMA's FCN-3: FCN-2 without its coarsest stage (a single stage is kept)."""
    stages = max(1, topology.stages - 1)
    return fcn_residual_spec(dimension, Topology(topology.strides[:stages], topology.kernels[:stages]), first_features)


@networks.register("fcn")
class FCN(nn.Module):
    """An encoder with a 1×1 classifier at each stage; the decoder is linear (Long et al. 2015).

    EMMA's ensemble members are FCN-1 (``layer`` is ``plain``), FCN-2 (``residual``: each layer is a residual block of
    two convolutions) and FCN-3 (one stage fewer); their features are not published (Kamnitsas et al. 2018).
    ``features``, ``kernels`` and ``strides`` have one entry for each stage, finest first; the first layer of a stage
    has the stride.
    """

    plans: ClassVar[Plans] = {"fcn": fcn_spec, "fcn_residual": fcn_residual_spec, "fcn_shallow": fcn_shallow_spec}

    def __init__(
        self,
        *,
        in_channels: int,
        outputs: int,
        dimension: int,
        features: Sequence[int],
        kernels: Sequence[Sequence[int]],
        strides: Sequence[Sequence[int]],
        layers: int | Sequence[int] = 2,
        layer: Literal["plain", "residual"] = "plain",
        normalization: Normalization = "batch",
    ) -> None:
        super().__init__()
        check_stages("fcn", dimension=dimension, features=features, kernels=kernels, strides=strides)
        counts = for_each_stage("fcn", "layers", layers, len(features))
        self.divisor = tuple(math.prod(axis) for axis in zip(*strides, strict=True))
        self.margin = (0,) * dimension
        make = unit if layer == "plain" else _residual
        self.encoder, self.scores = nn.ModuleList(), nn.ModuleList()
        inputs = in_channels
        for width, kernel, stride, count in zip(features, kernels, strides, counts, strict=True):
            first = make(dimension, inputs, width, kernel=kernel, stride=stride, normalization=normalization)
            others = (
                make(dimension, width, width, kernel=kernel, normalization=normalization) for _ in range(count - 1)
            )
            self.encoder.append(nn.Sequential(first, *others))
            self.scores.append(CONVOLUTIONS[dimension](width, outputs, 1))
            inputs = width
        self.apply(initialize)

    @property
    def taps(self) -> dict[str, nn.Module]:
        """Hidden stages by name; the decoder only interpolates logits and has none."""
        return encoder_taps(self.encoder)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return one level of logits [B,outputs,*space] of images [B,C,*space]; sizes are multiples of ``divisor``."""
        scores = []
        for stage, score in zip(self.encoder, self.scores, strict=True):
            x = stage(x)
            scores.append(score(x))
        logits = scores.pop()
        while scores:
            finer = scores.pop()
            space = tuple(finer.shape[2:])
            logits = finer + F.interpolate(logits, space, mode=LINEAR[len(space)])
        return [logits]


def _residual(
    dimension: int,
    inputs: int,
    outputs: int,
    *,
    kernel: Sequence[int],
    stride: Sequence[int] | None = None,
    normalization: Normalization,
) -> Residual:
    """Return a residual block of two convolutions (He et al. 2016, figure 2)."""
    branch = nn.Sequential(
        unit(dimension, inputs, outputs, kernel=kernel, stride=stride, normalization=normalization),
        convolution(dimension, outputs, outputs, kernel=kernel),
        norm(dimension, outputs, normalization),
    )
    shortcut: nn.Module | None = None
    if inputs != outputs or max(stride or [1]) > 1:
        projection = convolution(dimension, inputs, outputs, kernel=[1] * dimension, stride=stride)
        shortcut = nn.Sequential(projection, norm(dimension, outputs, normalization))
    return Residual(branch, shortcut, nn.ReLU(inplace=True))
