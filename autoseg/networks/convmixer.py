"""ConvMixerSeg: a network of one coarse resolution, between an embedding of patches and their decoding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Le
from torch import nn
from torch.nn import functional as F

from autoseg.errors import PlanError
from autoseg.networks import networks
from autoseg.networks.blocks import CONVOLUTIONS, TRANSPOSED
from autoseg.networks.gaussian_smoothing import GaussianSmoothing
from autoseg.networks.layers import LINEAR, Residual, convolution, norm
from autoseg.quantities import Positive

Count = Annotated[int, Ge(1)]
MOST_SMOOTHING = 1000.0
"""Voxels: more than images have."""


@networks.register("convmixer")
class ConvMixer(nn.Module):
    """Patches are embedded, mixed in place and in depth ``depth`` times, and decoded (Joakimsen 2021).

    ``patch`` and ``kernel``: voxels of an embedded patch and patches that a depthwise convolution spans, one number or
    one for each axis. Images of any size are padded with zeros to whole patches, and logits cropped. ``upsampling`` is
    ``transposed``, or ``bilinear`` (trilinear in 3D) without weights of its own. ``smoothing``: standard deviation in
    voxels of a Gaussian that smoothes the logits, in training and prediction (the thesis' has 7); None for none.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        outputs: int,
        dimension: int,
        features: Count = 256,
        depth: Count = 20,
        patch: Count | Sequence[Count] = 7,
        kernel: Count | Sequence[Count] = 9,
        decoded_features: Count = 100,
        upsampling: Literal["transposed", "bilinear"] = "transposed",
        residual_depthwise: bool = True,
        residual_pointwise: bool = True,
        smoothing: Annotated[Positive, Le(MOST_SMOOTHING)] | None = None,
    ) -> None:
        super().__init__()
        self.patch = _for_each_axis("patch", patch, dimension)
        kernels = _for_each_axis("kernel", kernel, dimension)
        if any(size % 2 == 0 for size in kernels):
            raise PlanError(f"network 'convmixer', field 'kernel': found {kernel}, expected odd numbers")
        self.divisor, self.margin = (1,) * dimension, (0,) * dimension
        self.embedding = _mixed(dimension, CONVOLUTIONS[dimension](in_channels, features, self.patch, self.patch))  # type: ignore[arg-type]
        layers: list[nn.Module] = []
        for _ in range(depth):
            depthwise = convolution(dimension, features, features, kernel=kernels, groups=features)
            pointwise = CONVOLUTIONS[dimension](features, features, 1)
            for layer, residual in ((depthwise, residual_depthwise), (pointwise, residual_pointwise)):
                block = _mixed(dimension, layer)
                layers.append(Residual(block) if residual else block)
        self.layers = nn.Sequential(*layers)
        self.decoder = _mixed(dimension, *_decoder(dimension, features, decoded_features, self.patch, upsampling))
        self.head = CONVOLUTIONS[dimension](decoded_features, outputs, 1)
        self.smoothing = nn.Identity() if smoothing is None else GaussianSmoothing(smoothing)

    @property
    def taps(self) -> dict[str, nn.Module]:
        """Hidden stages that losses may read, by name."""
        layers = {f"layers.{index}": layer for index, layer in enumerate(self.layers)}
        return {"embedding": self.embedding} | layers | {"decoder": self.decoder}

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return one level of logits [B,outputs,*space] of images [B,C,*space] of any size."""
        space = x.shape[2:]
        missing = [-size % patch for size, patch in zip(space, self.patch, strict=True)]
        if any(missing):
            x = F.pad(x, [n for size in reversed(missing) for n in (size // 2, size - size // 2)])
        x = self.head(self.decoder(self.layers(self.embedding(x))))
        inside = (slice(n // 2, n // 2 + size) for n, size in zip(missing, space, strict=True))
        # What was padded has no say in what is smoothed.
        return [self.smoothing(x[(slice(None), slice(None), *inside)])]


def _mixed(dimension: int, *layers: nn.Module) -> nn.Sequential:
    """Put GELU and batch normalization behind layers, the first of which says how many channels there are."""
    return nn.Sequential(*layers, nn.GELU(), norm(dimension, layers[0].out_channels))  # type: ignore[arg-type]


def _decoder(dimension: int, inputs: int, outputs: int, patch: tuple[int, ...], upsampling: str) -> list[nn.Module]:
    if upsampling == "transposed":
        return [TRANSPOSED[dimension](inputs, outputs, patch, patch)]  # type: ignore[arg-type]
    # Interpolating features is linear: after the 1×1 convolution there are fewer of them to interpolate.
    interpolation = nn.Upsample(scale_factor=tuple(map(float, patch)), mode=LINEAR[dimension])
    return [CONVOLUTIONS[dimension](inputs, outputs, 1), interpolation]


def _for_each_axis(field: str, value: int | Sequence[int], dimension: int) -> tuple[int, ...]:
    values = (value,) * dimension if isinstance(value, int) else tuple(value)
    if len(values) != dimension:
        raise PlanError(f"network 'convmixer', field '{field}': found {list(values)}, expected {dimension} numbers")
    return values
