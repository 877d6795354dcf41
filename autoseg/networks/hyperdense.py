"""HyperDenseNet: one path for each modality; each layer reads all previous layers of all paths."""

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
"""Largest number of paths if ``paths`` is None.

The limit exists because each further path increases the inputs of the layers of all paths. Remaining channels, such as
labels of a previous stage, join the last path."""


@networks.register("hyperdense")
class HyperDenseNet(nn.Module):
    """Dense connections within and across paths, at full resolution throughout (Dolz et al. 2018).

    ``features`` and ``kernels`` have one entry for each layer of a path; None means kernels of 3. ``classifier`` has
    one entry for each 1×1 convolution on the concatenated features of all paths. ``paths`` lists the channels of each
    path, counted from 0; None gives each channel its own path, up to four. Two details differ from the paper:
    convolutions are zero-padded, where the paper's are unpadded; and the classifier reads each feature once, where the
    paper's reads it once for each path.
    """

    whole_voxels = 8 * 27**3
    """Largest image, in voxels, that is predicted as one tile, whatever the patch size.

    Without pooling, a larger tile changes results only near its borders. On hippocampus, one tile takes a quarter of
    the time of overlapping patches of 28³ and lowers Dice by 0.005."""

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
        """Hidden layers by name: those of each path, then the 1×1 convolutions before the last one."""
        paths = {f"path_{p}_layer_{i}": layer for p, path in enumerate(self._layers()) for i, layer in enumerate(path)}
        return paths | {f"hidden_{i}": layer for i, layer in enumerate([*self.classifier.children()][:-1])}

    def _layers(self) -> list[list[nn.Module]]:
        """Return the layers of each path."""
        return [list(path.children()) for path in self.paths]

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return one level of logits [B,outputs,*space] of images [B,C,*space] of any size."""
        # Features of each path, for each layer; the last layer comes first.
        found: list[list[torch.Tensor]] = []
        for index, layers in enumerate(zip(*self._layers(), strict=True)):
            if index == 0:
                inputs = [x[:, channels] for channels in self.channels]
            else:
                inputs = [_of_all(found, path) for path in range(len(layers))]
            found.insert(0, [layer(image) for layer, image in zip(layers, inputs, strict=True)])
        return [self.classifier(_of_all(found, 0))]


def _of_all(found: Sequence[Sequence[torch.Tensor]], path: int) -> torch.Tensor:
    """Concatenate all features; those of ``path`` come first in each layer, so that each path has its own order."""
    return torch.cat([part for layer in found for part in (*layer[path:], *layer[:path])], dim=1)


def _activated(dimension: int, inputs: int, layer: nn.Module, normalization: Normalization) -> nn.Sequential:
    """Return normalization, PReLU and then ``layer``."""
    return nn.Sequential(norm(dimension, inputs, normalization), PReLU(inputs), layer)


def _paths(paths: Sequence[Sequence[int]] | None, channels: int) -> list[list[int]]:
    if paths is None:
        count = min(channels, MOST_PATHS)
        return [[index] for index in range(count - 1)] + [list(range(count - 1, channels))]
    if sorted(index for path in paths for index in path) != list(range(channels)) or not all(paths):
        raise PlanError(
            f"network 'hyperdense', field 'paths': found {[list(path) for path in paths]}, expected each of the "
            f"{channels} channels, counted from 0, in exactly one path"
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
