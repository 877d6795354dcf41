"""DeepMedic: pathways of valid convolutions that see the same place at several resolutions."""

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
from autoseg.quantities import Decay

Count = Annotated[int, Ge(1)]
Factor = Count | Sequence[Count]


@networks.register("deepmedic")
class DeepMedic(nn.Module):
    """Pathways of unpadded convolutions, one for each of ``factors``, whose features are classified together.

    Kamnitsas et al., Medical Image Analysis 36, 2017. A pathway of factor f takes every f-th voxel, without smoothing,
    and its features are repeated f times. ``forward`` takes one patch, large enough for the coarsest pathway, and gives
    logits of all but ``margin`` voxels on each side: for the published pathways of 25³ and 19³ voxels, 9³ of 57³. What
    it gives is best a multiple of ``divisor`` long; where it is not, zeros are put behind what a coarse pathway sees.

    ``features`` and ``kernels`` have one entry for each layer of a pathway; None stands for kernels of 3. Pathways
    after the first have ``coarse_features`` instead, where given. A factor is one number or one for each axis.
    ``residual`` lists layers, counted from 1, to whose output the input of the layer before is added, the middle of it
    and to as many features as both have: 4, 6 and 8 in the authors' public configurations. ``hidden`` are the 1×1
    convolutions before the classifier, of which the outputs of the last two are dropped with the chance ``dropout``;
    those of all layers of pathways with ``convolution_dropout``.
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
            raise _refused("coarse_features", list(coarse), f"{len(features)} numbers, as there are features")
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
        """Hidden layers that losses may read, by name; those of pathways are of different sizes."""
        paths = {
            f"paths.{place}.layers.{index}": layer
            for place, path in enumerate(self.paths)
            for index, layer in enumerate(path.layers)  # type: ignore[arg-type]
        }
        return paths | {f"hidden.{index}": layer for index, layer in enumerate(self.hidden)}

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
        """Take what a pathway of a factor needs of a patch for an output of ``space``.

        One voxel of each f along an axis: of those that share a feature in the end the middle one, from which on both
        sides every f-th.
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
        """Repeat features [B,C,*space / factor], and leave out what is then too much."""
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
        # A normalization shifts each feature by itself.
        layer = CONVOLUTIONS[dimension](inputs, outputs, tuple(kernel), bias=normalization == "none")  # type: ignore[arg-type]
        dropped = [nn.Dropout(dropout)] if dropout else []
        super().__init__(layer, norm(dimension, outputs, normalization), PReLU(outputs), *dropped)


class _Path(nn.Module):
    """Layers one after the other, with residual connections to some of them."""

    def __init__(self, layers: Sequence[nn.Module], residual: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.residual = frozenset(residual)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features [B,C,*space], smaller than the input by twice the reach of the kernels."""
        before = x
        for number, layer in enumerate(self.layers, start=1):
            before, skipped = x, before
            x = layer(x)
            if number in self.residual:
                x = _added(x, skipped)
        return x


def _added(x: torch.Tensor, skipped: torch.Tensor) -> torch.Tensor:
    """Add the middle of a larger map to the first features."""
    both = min(x.shape[1], skipped.shape[1])
    middle = [slice((m - n) // 2, (m - n) // 2 + n) for n, m in zip(x.shape[2:], skipped.shape[2:], strict=True)]
    shortcut = skipped[(slice(None), slice(both), *middle)]
    return torch.cat([x[:, :both] + shortcut, x[:, both:]], dim=1)


def _initialize(module: nn.Module) -> None:
    """Draw weights with a variance of 2 / inputs (He et al. 2015); biases begin at 0."""
    if isinstance(module, nn.Conv2d | nn.Conv3d):
        nn.init.kaiming_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _factors(factors: Sequence[Factor], dimension: int) -> list[tuple[int, ...]]:
    listed = [(f,) * dimension if isinstance(f, int) else tuple(f) for f in factors]
    if not listed or any(len(f) != dimension for f in listed):
        found = [f if isinstance(f, int) else list(f) for f in factors]
        raise _refused("factors", found, f"for each pathway one number or {dimension} of them")
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
