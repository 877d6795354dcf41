"""Work of a training step by kind; a machine computes each kind at a different rate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

CHANNELS = (1, 8, 16, 32, 64)
"""Channel counts that define kinds of dense convolutions: with fewer channels, a processor is used less well."""
PRODUCT, DEPTHWISE, BYTES, OPERATIONS = "product", "depthwise", "bytes", "operations"
"""Kinds of work: floating-point operations of matrix products, those of depthwise convolutions, bytes that all other
operations read and write, and the number of operations, because each one has a fixed overhead."""
KINDS = (
    *(f"convolution_{dimension}d_{channels}" for dimension in (2, 3) for channels in CHANNELS),
    PRODUCT,
    DEPTHWISE,
    BYTES,
    OPERATIONS,
)

_PRODUCTS = {"mm", "bmm", "addmm", "baddbmm"}


def convolution_kind(dimension: int, channels: int) -> str:
    """Return the kind of a dense convolution of 2 or 3 axes; ``channels`` is the smaller of its channel counts."""
    nearest = min(CHANNELS, key=lambda known: abs(math.log(known / max(channels, 1))))
    return f"convolution_{dimension}d_{nearest}"


def flops_of(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any] | None, result: Any) -> int | None:
    """Count the floating-point operations of a PyTorch operation; None if PyTorch has no count for it."""
    count = flop_registry.get(func._overloadpacket)
    return None if count is None else int(count(*args, **(kwargs or {}), out_val=result))


def work_of(func: Any, args: Sequence[Any], result: Any, flops: int | None) -> dict[str, float]:
    """Return the work of a PyTorch operation by kind; ``flops`` is None if unknown. Views have no work."""
    name = func._overloadpacket.__name__
    if name == "convolution":
        return _convolution(args[1], groups=args[8], flops=flops or 0, tensors=(args[:3], result))
    if name == "convolution_backward":
        return _convolution(args[2], groups=args[9], flops=flops or 0, tensors=(args[:3], result))
    if name == "kernel_gradient":
        gradient, image = args[:2]
        return {convolution_kind(3, min(image.shape[1], gradient.shape[1])): flops or 0, OPERATIONS: 1}
    if flops is not None and name in _PRODUCTS:
        return {PRODUCT: flops, OPERATIONS: 1}
    return {} if func.is_view else {BYTES: _bytes((args, result)), OPERATIONS: 1}


def _convolution(weight: torch.Tensor, *, groups: int, flops: int, tensors: Any) -> dict[str, float]:
    inputs, outputs = weight.shape[1], weight.shape[0] // groups
    if weight[0, 0].numel() == 1:
        # A kernel of one voxel is a matrix product; reading and writing cost as much as computing.
        return {PRODUCT: flops, BYTES: _bytes(tensors), OPERATIONS: 1}
    if groups > 1 and inputs == 1:
        return {DEPTHWISE: flops, OPERATIONS: 1}
    return {convolution_kind(weight.ndim - 2, min(inputs, outputs)): flops, OPERATIONS: 1}


def _bytes(tree: Any) -> int:
    return sum(leaf.numel() * leaf.element_size() for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor))
