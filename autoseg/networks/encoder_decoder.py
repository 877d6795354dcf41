"""nnU-Net's decoder for any encoder, and the checks of a plan's stages."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from autoseg.errors import PlanError
from autoseg.networks.blocks import CONVOLUTIONS, TRANSPOSED, initialize, stack
from autoseg.networks.u_shape import UShape


class EncoderDecoder(UShape):
    """Any stages of an encoder under nnU-Net's decoder: transposed convolutions, stacks of convolutions, 1×1 heads."""

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
        up: list[nn.Module] = []
        decoder: list[nn.Module] = []
        heads: list[nn.Module] = []
        for stage in reversed(range(len(features) - 1)):
            stride = tuple(strides[stage + 1])
            up.append(TRANSPOSED[dimension](features[stage + 1], features[stage], stride, stride))  # type: ignore[arg-type]
            decoder.append(
                stack(
                    dimension,
                    2 * features[stage],
                    features[stage],
                    kernel=kernels[stage],
                    stride=[1] * dimension,
                    count=decoder_convolutions[stage],
                )
            )
            heads.append(CONVOLUTIONS[dimension](features[stage], outputs, 1))
        if not heads:
            # A single stage has nothing to decode: its features are classified as they are.
            heads.append(CONVOLUTIONS[dimension](features[0], outputs, 1))
        super().__init__(
            encoder=encoder, up=up, decoder=decoder, heads=heads, strides=strides, deep_supervision=deep_supervision
        )
        self.apply(initialize)


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
    if len(values) != stages or min(values, default=1) < 1:
        raise PlanError(f"network '{name}', field '{field}': found {value}, expected {stages} numbers above 0")
    return values
