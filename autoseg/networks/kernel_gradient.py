"""The gradient of 3D convolution kernels as matrix products, for CPUs on which PyTorch's own is slow.

If features are channels-last and both images have the same zero padding, a shift by some voxels is a shift in memory.
The gradient of each voxel of the kernel is then one product of two matrices, whose rows are voxels. With AVX2 this is a
third faster than oneDNN; with AVX-512 it is slower.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.utils.flop_counter import register_flop_formula

from autoseg.networks.channels_last import is_channels_last

FEWEST_FEATURES = 16
"""Smallest number of input features and of output features; products of narrower matrices are slower."""
MOST_PADDED = 1.3
"""Largest ratio of padded to unpadded voxels, because padding costs time too; 1.29 for 20×28×20 voxels."""
BLOCK_BYTES = 600_000
"""Bytes of both images in one block of a thread; all voxels of the kernel read them from the cache."""


def has_own_gradient(layer: nn.Conv3d, x: torch.Tensor) -> bool:
    """Return whether matrix products are faster for the gradient of a layer's kernel, for input x [B,C,z,y,x]."""
    if torch.backends.cpu.get_cpu_capability() != "AVX2" or not torch.is_grad_enabled():
        return False
    if x.dtype != torch.float32 or torch.is_autocast_enabled("cpu") or not is_channels_last(x):
        return False
    return _is_same(layer) and min(layer.weight.shape[:2]) >= FEWEST_FEATURES and _enlarged(layer, x) <= MOST_PADDED


def _is_same(layer: nn.Conv3d) -> bool:
    """Return whether a layer is a plain convolution (no stride, dilation or groups) that keeps the image size."""
    odd = all(k % 2 for k in layer.kernel_size) and layer.padding == tuple(k // 2 for k in layer.kernel_size)
    return odd and layer.groups == 1 and max(layer.kernel_size) > 1 == max(*layer.stride, *layer.dilation)


def _enlarged(layer: nn.Conv3d, x: torch.Tensor) -> float:
    return math.prod((n + k - 1) / n for n, k in zip(x.shape[2:], layer.kernel_size, strict=True))


def convolved(x: torch.Tensor, layer: nn.Conv3d) -> torch.Tensor:
    """Return features [B,outputs,z,y,x] of a layer for which :func:`has_own_gradient` is true."""
    result = _Convolution.apply(x, layer.weight, layer.bias)  # type: ignore[no-untyped-call]
    return cast(torch.Tensor, result)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        padding = [k // 2 for k in weight.shape[2:]]
        return torch.ops.aten.convolution(x, weight, bias, [1] * 3, padding, [1] * 3, False, [0] * 3, 1)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        for_x = for_weight = None
        if ctx.needs_input_grad[0]:
            padding = [k // 2 for k in weight.shape[2:]]
            for_x = torch.ops.aten.convolution_backward(
                gradient, x, weight, None, [1] * 3, padding, [1] * 3, False, [0] * 3, 1, [True, False, False]
            )[0]
        if ctx.needs_input_grad[1]:
            for_weight = torch.ops.autoseg.kernel_gradient(gradient, x, weight.shape[2:])
        return for_x, for_weight, gradient.sum((0, 2, 3, 4)) if ctx.needs_input_grad[2] else None


def _kernel_gradient(gradient: torch.Tensor, x: torch.Tensor, kernel: Sequence[int]) -> torch.Tensor:
    """Return the gradient [outputs,inputs,*kernel]; each thread processes a block of planes of a sample at a time."""
    images, gradients = x.movedim(1, -1), gradient.movedim(1, -1)
    depth, height, width = images.shape[1:4]
    rows, row = height + kernel[1] - 1, width + kernel[2] - 1
    channels = x.shape[1] + gradient.shape[1]
    planes = min(depth, max(1, round(BLOCK_BYTES / (rows * row * channels * x.element_size()))))
    starts = [(sample, first) for sample in range(len(x)) for first in range(0, depth, planes)]
    threads = torch.get_num_threads()
    image = x.new_zeros(threads, planes + kernel[0] - 1, rows, row, x.shape[1])
    slope = x.new_zeros(threads, planes, rows, row, gradient.shape[1])
    total = x.new_zeros(math.prod(kernel), threads, x.shape[1], gradient.shape[1])
    before = [k // 2 for k in kernel]
    for some in (starts[first : first + threads] for first in range(0, len(starts), threads)):
        for place, (sample, first) in enumerate(some):
            _fill(image[place], images[sample], [first - before[0], -before[1], -before[2]])
            _fill(slope[place], gradients[sample], [first, 0, 0])
        _add_products(total[:, : len(some)], image[: len(some)], slope[: len(some)], kernel)
    return total.sum(1).view(*kernel, *total.shape[2:]).permute(4, 3, 0, 1, 2).contiguous()


def _fill(padded: torch.Tensor, image: torch.Tensor, start: Sequence[int]) -> None:
    """Copy the planes of an image [z,y,x,C] from ``start`` on to ``padded``; voxels outside the image are 0."""
    first, height, width = start[0], image.shape[1], image.shape[2]
    low, high = max(first, 0), min(first + len(padded), len(image))
    if high - low < len(padded):
        padded.zero_()
    padded[low - first : high - first, -start[1] : height - start[1], -start[2] : width - start[2]] = image[low:high]


def _add_products(total: torch.Tensor, image: torch.Tensor, slope: torch.Tensor, kernel: Sequence[int]) -> None:
    """Add, for each voxel of the kernel, the product of the shifted image and the gradient."""
    row, plane = image.shape[3], image.shape[2] * image.shape[3]
    images, slopes = image.flatten(1, 3), slope.flatten(1, 3)
    # The omitted voxels at the end are zeros of the gradient.
    voxels = slopes.shape[1] - (kernel[1] - 1) * row - (kernel[2] - 1)
    for index, (z, y, x) in enumerate(itertools.product(*map(range, kernel))):
        shift = z * plane + y * row + x
        total[index].baddbmm_(images[:, shift : shift + voxels].mT, slopes[:, :voxels])


def _shape_of_gradient(gradient: torch.Tensor, x: torch.Tensor, kernel: Sequence[int]) -> torch.Tensor:
    return x.new_empty(gradient.shape[1], x.shape[1], *kernel)


# Registered as one operation: planning counts work and memory on tensors without storage, for 1000 samples at once.
torch.library.custom_op(
    "autoseg::kernel_gradient",
    _kernel_gradient,
    mutates_args=(),
    schema="(Tensor gradient, Tensor x, SymInt[] kernel) -> Tensor",
).register_fake(_shape_of_gradient)


@register_flop_formula(torch.ops.autoseg.kernel_gradient)  # type: ignore[untyped-decorator]
def _operations(gradient: Sequence[int], x: Sequence[int], kernel: Sequence[int], **_: Any) -> int:
    return 2 * math.prod(gradient) * x[1] * math.prod(kernel)
