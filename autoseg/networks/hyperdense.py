"""HyperDenseNet: a path for each modality, every layer of which reads all layers before it in all paths."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import Ge
from torch import nn

from autoseg.errors import PlanError
from autoseg.networks import networks
from autoseg.networks.blocks import CONVOLUTIONS, initialize
from autoseg.networks.layers import Normalization, convolution, norm
from autoseg.networks.prelu import PReLU

Count = Annotated[int, Ge(1)]

MOST_PATHS = 4
"""Paths where none are listed: every further one costs as much as all before it read; channels that are left over, such
as the labels of a previous stage, join the last."""


@networks.register("hyperdense")
class HyperDenseNet(nn.Module):
    """Dense connections within and across paths, at full resolution throughout (Dolz et al. 2018).

    ``features`` and ``kernels`` have one entry for each layer of a path, ``classifier`` one for each 1×1 convolution
    that follows on all features together; None stands for kernels of 3. ``paths`` lists the channels of each path,
    counted from 0; None gives each channel its own. Convolutions are zero-padded, where the paper's shrink the image,
    and each feature is classified once, where the paper gives it to the classifier in the order of each path.
    """

    whole_voxels = 8 * 27**3
    """Images of up to so many voxels are predicted as one tile, whatever the patch: without pooling, a larger tile
    differs at its borders only. On hippocampus that takes a quarter of the time of patches of 28³ that overlap, and
    costs 0.005 of Dice."""

    def __init__(
        self,
        *,
        in_channels: int,
        outputs: int,
        dimension: int,
        features: Sequence[Count] = (25, 25, 25, 50, 50, 50, 75, 75, 75),
        kernels: Sequence[Sequence[Count]] | None = None,
        classifier: Sequence[Count] = (400, 200, 150),
        paths: Sequence[Sequence[int]] | None = None,
        normalization: Normalization = "batch",
    ) -> None:
        super().__init__()
        self.divisor, self.margin = (1,) * dimension, (0,) * dimension
        self.channels = _paths(paths, in_channels)
        sizes = _kernels(kernels, dimension, len(features))
        self.paths = nn.ModuleList()
        for channels in self.channels:
            layers = nn.ModuleList([convolution(dimension, len(channels), features[0], kernel=sizes[0])])
            for index in range(1, len(features)):
                inputs = len(self.channels) * sum(features[:index])
                layer = convolution(dimension, inputs, features[index], kernel=sizes[index])
                layers.append(_activated(dimension, inputs, layer, normalization))
            self.paths.append(layers)
        widths = [len(self.channels) * sum(features), *classifier, outputs]
        self.classifier = nn.Sequential(
            *(
                _activated(dimension, inputs, CONVOLUTIONS[dimension](inputs, width, 1), normalization)
                for inputs, width in itertools.pairwise(widths)
            )
        )
        self.apply(initialize)

    @property
    def taps(self) -> dict[str, nn.Module]:
        """Hidden layers that losses may read, by name."""
        layers = {f"paths.{p}.{i}": layer for p, path in enumerate(self._layers()) for i, layer in enumerate(path)}
        return layers | {f"classifier.{i}": layer for i, layer in enumerate([*self.classifier.children()][:-1])}

    def _layers(self) -> list[list[nn.Module]]:
        """List the layers of each path."""
        return [list(path.children()) for path in self.paths]

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return one level of logits [B,outputs,*space] of images [B,C,*space] of any size."""
        # For each layer, the last first, what each path found.
        found: list[list[torch.Tensor]] = []
        for index, layers in enumerate(zip(*self._layers(), strict=True)):
            if index == 0:
                inputs = [x[:, channels] for channels in self.channels]
            else:
                inputs = [_of_all(found, path) for path in range(len(layers))]
            found.insert(0, [layer(image) for layer, image in zip(layers, inputs, strict=True)])
        return [self.classifier(_of_all(found, 0))]


def _of_all(found: Sequence[Sequence[torch.Tensor]], path: int) -> torch.Tensor:
    """Concatenate all features; of each layer those of ``path`` come first, so that no two paths read them alike."""
    return torch.cat([part for layer in found for part in (*layer[path:], *layer[:path])], dim=1)


def _activated(dimension: int, inputs: int, layer: nn.Module, normalization: Normalization) -> nn.Sequential:
    """Put normalization and PReLU before a layer."""
    return nn.Sequential(norm(dimension, inputs, normalization), PReLU(inputs), layer)


def _paths(paths: Sequence[Sequence[int]] | None, channels: int) -> list[list[int]]:
    if paths is None:
        count = min(channels, MOST_PATHS)
        return [[index] for index in range(count - 1)] + [list(range(count - 1, channels))]
    if sorted(index for path in paths for index in path) != list(range(channels)) or not all(paths):
        raise PlanError(
            f"network 'hyperdense', field 'paths': found {[list(path) for path in paths]}, expected each of the "
            f"{channels} channels, counted from 0, in one of them"
        )
    return [list(path) for path in paths]


def _kernels(kernels: Sequence[Sequence[int]] | None, dimension: int, layers: int) -> list[list[int]]:
    if layers < 1:
        raise PlanError("network 'hyperdense', field 'features': found none, expected one number for each layer")
    if kernels is None:
        return [[3] * dimension] * layers
    if len(kernels) != layers or any(len(kernel) != dimension or any(k % 2 == 0 for k in kernel) for kernel in kernels):
        raise PlanError(
            f"network 'hyperdense', field 'kernels': found {[list(kernel) for kernel in kernels]}, expected "
            f"{dimension} odd numbers for each of the {layers} layers"
        )
    return [list(kernel) for kernel in kernels]
