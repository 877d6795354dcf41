"""The shape that U-Nets share: an encoder's skips, a decoder, and logits at each of its resolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from autoseg.errors import PlanError
from autoseg.networks.blocks import CONVOLUTIONS, TRANSPOSED, initialize, stack


class EncoderDecoder(nn.Module):
    """A U-Net (Ronneberger et al. 2015) around any stages of an encoder.

    ``forward`` takes images [B,C,*patch], every axis a multiple of ``divisor``, and returns a list of logits, finest
    first: one for each stage of the decoder in training with deep supervision, otherwise the finest alone.
    """

    def __init__(
        self,
        *,
        dimension: int,
        outputs: int,
        encoder: Sequence[nn.Module],
        features: Sequence[int],
        kernels: Sequence[Sequence[int]],
        strides: Sequence[Sequence[int]],
        decoder_convolutions: Sequence[int],
        deep_supervision: bool,
    ) -> None:
        super().__init__()
        self.deep_supervision = deep_supervision
        self.margin = (0,) * dimension
        self.divisor = tuple(math.prod(axis) for axis in zip(*strides, strict=True))
        self.encoder = nn.ModuleList(encoder)
        self.up, self.decoder, self.heads = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for stage in reversed(range(len(features) - 1)):
            stride = tuple(strides[stage + 1])
            self.up.append(TRANSPOSED[dimension](features[stage + 1], features[stage], stride, stride))  # type: ignore[arg-type]
            self.decoder.append(
                stack(
                    dimension,
                    2 * features[stage],
                    features[stage],
                    kernel=kernels[stage],
                    stride=[1] * dimension,
                    count=decoder_convolutions[stage],
                )
            )
            self.heads.append(CONVOLUTIONS[dimension](features[stage], outputs, 1))
        if not self.heads:
            # A single stage has nothing to decode: its features are classified as they are.
            self.heads.append(CONVOLUTIONS[dimension](features[0], outputs, 1))
        self.apply(initialize)

    @property
    def taps(self) -> dict[str, nn.Module]:
        """Hidden stages that losses may read, by name."""
        encoder = {f"encoder.{index}": stage for index, stage in enumerate(self.encoder)}
        return encoder | {f"decoder.{index}": stage for index, stage in enumerate(self.decoder)}

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return logits [B,outputs,*patch / stride], finest first."""
        skips = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        supervised = self.training and self.deep_supervision
        logits = []
        for index, (up, decode) in enumerate(zip(self.up, self.decoder, strict=True)):
            x = decode(torch.cat([up(x), skips[-2 - index]], dim=1))
            if supervised:
                logits.append(self.heads[index](x))
        if not supervised or not logits:
            return [self.heads[-1](x)]
        return logits[::-1]


def check_stages(
    name: str,
    *,
    dimension: int,
    features: Sequence[int],
    kernels: Sequence[Sequence[int]],
    strides: Sequence[Sequence[int]],
) -> None:
    """Raise :class:`PlanError`, naming the field, where a plan's stages cannot be built."""
    if dimension not in (2, 3):
        raise PlanError(f"network '{name}': found dimension {dimension}, expected 2 or 3")
    if not features or min(features) < 1:
        raise PlanError(f"network '{name}', field 'features': found {list(features)}, expected numbers above 0")
    for field, values in (("kernels", kernels), ("strides", strides)):
        if len(values) != len(features):
            raise PlanError(
                f"network '{name}', field '{field}': found {len(values)} stages, expected {len(features)}, "
                "as in 'features'"
            )
        if any(len(value) != dimension or min(value) < 1 for value in values):
            raise PlanError(f"network '{name}', field '{field}': expected {dimension} numbers above 0 for each stage")
    if any(k % 2 == 0 for kernel in kernels for k in kernel):
        raise PlanError(f"network '{name}', field 'kernels': found an even kernel, expected odd ones")
    if max(strides[0]) > 1:
        raise PlanError(f"network '{name}', field 'strides': found {list(strides[0])} first, expected ones")


def for_each_stage(name: str, field: str, value: int | Sequence[int], stages: int) -> list[int]:
    """Return one number for each stage; :class:`PlanError` where a list has another length or numbers below 1."""
    values = [value] * stages if isinstance(value, int) else list(value)
    if len(values) < stages or min(values, default=1) < 1:
        raise PlanError(f"network '{name}', field '{field}': found {value}, expected {stages} numbers above 0")
    return values
