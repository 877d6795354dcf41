"""DeepMedic: pathways of unpadded convolutions that read the same region at several resolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import Ge
from torch import nn
from torch.nn import functional as F

from autoseg.errors import PlanError
from autoseg.networks import networks
from autoseg.networks.blocks import CONVOLUTIONS
from autoseg.networks.layers import Normalization, norm
from autoseg.networks.prelu import PReLU
from autoseg.registry import Decay

Count = Annotated[int, Ge(1)]
Factor = Count | Sequence[Count]


@networks.register("deepmedic")
class DeepMedic(nn.Module):
    """Pathways of unpadded convolutions, one for each of ``factors``, and a classifier of their concatenated features.

    Kamnitsas et al., Medical Image Analysis 36, 2017. A pathway of factor f reads every f-th voxel, without smoothing,
    and its features are repeated f times. ``forward`` takes one patch that is large enough for the coarsest pathway. It
    returns logits of all but ``margin`` voxels on each side: 9³ of 57³ for the published pathways of 25³ and 19³
    voxels. The size of the logits should be a multiple of ``divisor``; otherwise the input of coarse pathways is
    zero-padded at the end.

    ``features`` and ``kernels`` have one entry for each layer of a pathway; None means kernels of 3. Pathways after the
    first use ``coarse_features`` instead, if given. A factor is one number, or one for each axis. ``residual`` lists
    layers, counted from 1, with a residual connection: the input of the previous layer is cropped to the centre and
    added to the output, for as many features as both have. The public configurations of the authors use 4, 6 and 8.
    ``hidden`` are the features of the 1×1 convolutions before the classifier. ``dropout`` is the dropout probability of
    the last two of these, ``convolution_dropout`` that of all layers of pathways.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        outputs: int,
        dimension: int,
        features: Sequence[Count] = (30, 30, 40, 40, 40, 40, 50, 50),
        kernels: Sequence[Sequence[Count]] | None = None,
        factors: Sequence[Factor] = (1, 3),
        coarse_features: Sequence[Count] | None = None,
        residual: Sequence[Count] = (),
        hidden: Sequence[Count] = (150, 150),
        dropout: Decay = 0.5,
        convolution_dropout: Decay = 0.0,
        normalization: Normalization = "batch",
    ) -> None:
        super().__init__()
        sizes = _kernels(kernels, dimension, len(features))
        _check_residual(residual, len(features))
        self.factors = _factors(factors, dimension)
        coarse = features if coarse_features is None else coarse_features
        if len(coarse) != len(features):
            raise _refused("coarse_features", list(coarse), f"{len(features)} numbers, as in 'features'")
        self.paths = nn.ModuleList()
        for widths in [features, *[coarse] * (len(self.factors) - 1)]:
            layers = (
                _Layer(dimension, inputs, width, kernel, normalization=normalization, dropout=convolution_dropout)
                for inputs, width, kernel in zip([in_channels, *widths], widths, sizes, strict=False)
            )
            self.paths.append(_Path(list(layers), residual))
        self.reach = tuple(sum(kernel[axis] // 2 for kernel in sizes) for axis in range(dimension))
        self.divisor = tuple(math.lcm(*axis) for axis in zip(*self.factors, strict=True))
        self.margin = tuple(r * max(axis) for r, axis in zip(self.reach, zip(*self.factors, strict=True), strict=True))
        found = features[-1] + coarse[-1] * (len(self.factors) - 1)
        self.hidden = nn.ModuleList()
        for index, (inputs, width) in enumerate(zip([found, *hidden], hidden, strict=False)):
            dropped = dropout if index >= len(hidden) - 2 else 0.0
            layer = _Layer(dimension, inputs, width, [1] * dimension, normalization=normalization, dropout=dropped)
            self.hidden.append(layer)
        self.classifier = CONVOLUTIONS[dimension](hidden[-1] if hidden else found, outputs, 1)
        self.apply(_initialize)

    @property
    def taps(self) -> dict[str, nn.Module]:
        """Hidden layers by name; ``path_0`` is the result of a pathway, before it is repeated.

        Unpadded convolutions make each layer of a pathway smaller than the previous one. Layers with a residual
        connection give their features before the addition.
        """
        layers = {
            f"path_{place}_layer_{index}": layer
            for place, path in enumerate(self.paths)
            for index, layer in enumerate(path.layers)  # type: ignore[arg-type]
        }
        paths = {f"path_{place}": path for place, path in enumerate(self.paths)}
        return layers | paths | {f"hidden_{index}": layer for index, layer in enumerate(self.hidden)}

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return one level of logits [B,outputs,*patch − 2 · margin] of images [B,C,*patch]."""
        space = [n - 2 * m for n, m in zip(x.shape[2:], self.margin, strict=True)]
        found = [
            self._at_full_resolution(path(self._seen(x, space, factor)), space, factor)
            for path, factor in zip(self.paths, self.factors, strict=True)
        ]
        x = torch.cat(found, dim=1)
        for layer in self.hidden:
            x = layer(x)
        return [self.classifier(x)]

    def _seen(self, x: torch.Tensor, space: Sequence[int], factor: Sequence[int]) -> torch.Tensor:
        """Return the input of a pathway of a given factor for logits of size ``space``.

        Along each axis, every f-th voxel is read. Each is the middle one of the f voxels that share a feature of the
        result.
        """
        places = []
        for axis, (size, f) in enumerate(zip(space, factor, strict=True)):
            first = self.margin[axis] + f // 2 - self.reach[axis] * f
            count = math.ceil(size / f) + 2 * self.reach[axis]
            places.append(slice(first, first + (count - 1) * f + 1, f))
        missing = [max(0, place.stop - n) for place, n in zip(places, x.shape[2:], strict=True)]
        if any(missing):
            x = F.pad(x, [n for size in reversed(missing) for n in (0, size)])
        return x[(slice(None), slice(None), *places)]

    def _at_full_resolution(self, x: torch.Tensor, space: Sequence[int], factor: Sequence[int]) -> torch.Tensor:
        """Repeat features [B,C,*space / factor] and crop the result to ``space``."""
        for axis, (size, f) in enumerate(zip(space, factor, strict=True)):
            if f > 1:
                x = x.repeat_interleave(f, dim=axis + 2).narrow(axis + 2, 0, size)
        return x


class _Layer(nn.Sequential):
    """An unpadded convolution, its normalization, PReLU and dropout."""

    def __init__(
        self,
        dimension: int,
        inputs: int,
        outputs: int,
        kernel: Sequence[int],
        *,
        normalization: Normalization,
        dropout: float,
    ) -> None:
        # A normalization has its own shift and makes the bias redundant.
        layer = CONVOLUTIONS[dimension](inputs, outputs, tuple(kernel), bias=normalization == "none")  # type: ignore[arg-type]
        dropped = [nn.Dropout(dropout)] if dropout else []
        super().__init__(layer, norm(dimension, outputs, normalization), PReLU(outputs), *dropped)


class _Path(nn.Module):
    """A sequence of layers, some with residual connections."""

    def __init__(self, layers: Sequence[nn.Module], residual: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.residual = frozenset(residual)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features [B,C,*space]; each unpadded kernel of size k makes them smaller by k − 1."""
        before = x
        for number, layer in enumerate(self.layers, start=1):
            before, skipped = x, before
            x = layer(x)
            if number in self.residual:
                x = _added(x, skipped)
        return x


def _added(x: torch.Tensor, skipped: torch.Tensor) -> torch.Tensor:
    """Crop ``skipped`` to the centre and add it to the first features of ``x``."""
    both = min(x.shape[1], skipped.shape[1])
    middle = [slice((m - n) // 2, (m - n) // 2 + n) for n, m in zip(x.shape[2:], skipped.shape[2:], strict=True)]
    shortcut = skipped[(slice(None), slice(both), *middle)]
    return torch.cat([x[:, :both] + shortcut, x[:, both:]], dim=1)


def _initialize(module: nn.Module) -> None:
    """Initialize weights with a variance of 2 / inputs (He et al. 2015) and biases with 0."""
    if isinstance(module, nn.Conv2d | nn.Conv3d):
        nn.init.kaiming_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _factors(factors: Sequence[Factor], dimension: int) -> list[tuple[int, ...]]:
    listed = [(f,) * dimension if isinstance(f, int) else tuple(f) for f in factors]
    if not listed or any(len(f) != dimension for f in listed):
        found = [f if isinstance(f, int) else list(f) for f in factors]
        raise _refused("factors", found, f"one number or {dimension} numbers for each pathway")
    return listed


def _kernels(kernels: Sequence[Sequence[int]] | None, dimension: int, layers: int) -> list[list[int]]:
    if layers < 1:
        raise _refused("features", [], "one number for each layer")
    if kernels is None:
        return [[3] * dimension] * layers
    if len(kernels) != layers or any(len(kernel) != dimension or any(k % 2 == 0 for k in kernel) for kernel in kernels):
        found = [list(kernel) for kernel in kernels]
        raise _refused("kernels", found, f"{dimension} odd numbers for each of the {layers} layers")
    return [list(kernel) for kernel in kernels]


def _check_residual(residual: Sequence[int], layers: int) -> None:
    if any(not 2 <= number <= layers for number in residual):
        raise _refused("residual", list(residual), f"layers from 2 to {layers}")


def _refused(field: str, found: object, expected: str) -> PlanError:
    return PlanError(f"network 'deepmedic', field '{field}': found {found}, expected {expected}")
