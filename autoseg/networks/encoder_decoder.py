"""nnU-Net's decoder for any encoder, and checks of the stages of a plan."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from autoseg.errors import PlanError
from autoseg.networks.blocks import CONVOLUTIONS, TRANSPOSED, initialize, stack
from autoseg.networks.u_shape import UShape


class EncoderDecoder(UShape):
    """Any encoder with nnU-Net's decoder: transposed convolutions, stacks of convolutions and 1×1 heads."""

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
            # A network of one stage has no decoder: the head reads the features of the encoder.
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
    """Raise :class:`PlanError`, with the name of the field, if the stages of a plan are invalid."""
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
        raise PlanError(f"network '{name}', field 'kernels': found an even kernel, expected odd kernels")
    if max(strides[0]) > 1:
        raise PlanError(f"network '{name}', field 'strides': found {list(strides[0])} first, expected only 1")


def for_each_stage(name: str, field: str, value: int | Sequence[int], stages: int) -> list[int]:
    """Return one number for each stage; raise :class:`PlanError` for a wrong number of values or for values below 1."""
    values = [value] * stages if isinstance(value, int) else list(value)
    if len(values) != stages or min(values, default=1) < 1:
        raise PlanError(f"network '{name}', field '{field}': found {value}, expected {stages} numbers above 0")
    return values
