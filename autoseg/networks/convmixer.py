"""ConvMixerSeg: patch embedding, layers at one coarse resolution, and a decoder to full resolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Le
from torch import nn
from torch.nn import functional as F

from autoseg.errors import PlanError
from autoseg.networks import networks
from autoseg.networks.blocks import CONVOLUTIONS, TRANSPOSED
from autoseg.networks.gaussian_smoothing import GaussianSmoothing
from autoseg.networks.layers import LINEAR, Residual, convolution, norm
from autoseg.networks.planning import Plans, Topology
from autoseg.registry import Component, Positive

Count = Annotated[int, Ge(1)]
MOST_SMOOTHING = 1000.0
"""Upper bound of ``smoothing`` in voxels, larger than any image."""


WIDER = 8
"""Ratio of features to those of nnU-Net's first stage: the thesis has 256, nnU-Net 32."""
DECODED = 100
"""Features of the decoder at full resolution, for 256 features in the layers."""
PATCH = {2: 7, 3: 4}
"""Edge length of an embedded patch in voxels: 7×7 pixels in the thesis; a cube of 4 has about as many voxels."""
KERNEL = {2: 9, 3: 5}
"""Edge length of a depthwise kernel, in embedded patches.

ConvMixer uses 9×9. A cube of 5 has 1.5 times as many weights, a cube of 9 nine times as many."""


def convmixer_spec(dimension: int, topology: Topology, first_features: int) -> Component:
    """Return the plan of the network of Joakimsen 2021; embedded patches have about the same size in mm on each axis.

    The thesis smooths logits with a Gaussian of 7 pixels on slices of 512. The plan does not include this, because it
    removes small structures; set ``network.smoothing`` to add it.
    """
    flat = [sum(kernel[axis] == 1 for kernel in topology.kernels) for axis in range(dimension)]
    return {
        "name": "convmixer",
        "features": WIDER * first_features,
        "depth": 20,
        "patch": [max(1, PATCH[dimension] // 2**stages) for stages in flat],
        "kernel": KERNEL[dimension],
        "decoded_features": DECODED * first_features // 32,
    }


@networks.register("convmixer")
class ConvMixer(nn.Module):
    """Patch embedding, ``depth`` pairs of a depthwise and a 1×1 convolution, and a decoder (Joakimsen 2021).

    ``patch`` is the size of an embedded patch in voxels; ``kernel`` is the size of the depthwise kernel in embedded
    patches. Each is one number, or one for each axis. Images of any size are zero-padded to whole patches, and logits
    are cropped. ``upsampling`` is ``transposed``, or ``bilinear`` (trilinear in 3D), which has no weights.
    ``smoothing`` is the std in voxels of a Gaussian that smooths the logits in training and prediction (7 in the
    thesis); None disables it.
    """

    plans: ClassVar[Plans] = {"convmixer": convmixer_spec}

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
        """Hidden stages by name; each ``layer`` is the 1×1 convolution at the end of a pair."""
        pairs = [*self.layers][1::2]
        layers = {f"layer_{number}": pointwise for number, pointwise in enumerate(pairs)}
        return {"embedding": self.embedding} | layers | {"decoder_0": self.decoder}

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return one level of logits [B,outputs,*space] of images [B,C,*space] of any size."""
        space = x.shape[2:]
        missing = [-size % patch for size, patch in zip(space, self.patch, strict=True)]
        if any(missing):
            x = F.pad(x, [n for size in reversed(missing) for n in (size // 2, size - size // 2)])
        x = self.head(self.decoder(self.layers(self.embedding(x))))
        inside = (slice(n // 2, n // 2 + size) for n, size in zip(missing, space, strict=True))
        # Crop before smoothing, so that padding does not affect the result.
        return [self.smoothing(x[(slice(None), slice(None), *inside)])]


def _mixed(dimension: int, *layers: nn.Module) -> nn.Sequential:
    """Append GELU and batch normalization to layers; the first layer defines the number of channels."""
    return nn.Sequential(*layers, nn.GELU(), norm(dimension, layers[0].out_channels))  # type: ignore[arg-type]


def _decoder(dimension: int, inputs: int, outputs: int, patch: tuple[int, ...], upsampling: str) -> list[nn.Module]:
    if upsampling == "transposed":
        return [TRANSPOSED[dimension](inputs, outputs, patch, patch)]  # type: ignore[arg-type]
    # Interpolation is linear, so the 1×1 convolution can come first and leave fewer features to interpolate.
    interpolation = nn.Upsample(scale_factor=tuple(map(float, patch)), mode=LINEAR[dimension])
    return [CONVOLUTIONS[dimension](inputs, outputs, 1), interpolation]


def _for_each_axis(field: str, value: int | Sequence[int], dimension: int) -> tuple[int, ...]:
    values = (value,) * dimension if isinstance(value, int) else tuple(value)
    if len(values) != dimension:
        raise PlanError(f"network 'convmixer', field '{field}': found {list(values)}, expected {dimension} numbers")
    return values
