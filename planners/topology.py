"""Topology of a U-Net: strides and kernels of each stage for a patch and a spacing (nnU-Net's rules)."""

from __future__ import annotations

import math

from autoseg.networks.planning import Topology
from autoseg.system.units import AXES

SMALLEST_BOTTLENECK = 4
"""Smallest number of voxels of an axis after pooling."""
SPACING_RATIO = 2.0
"""An axis coarser than the finest by this factor is not pooled and has kernels of 1 until the others are as coarse."""


def topology(patch: tuple[int, ...], spacing: tuple[float, ...]) -> Topology:
    """Return pooling and kernels for ``patch`` (voxels) at ``spacing`` (millimetres), with any number of axes.

    An axis is pooled by 2 while it keeps at least 4 voxels and its spacing is within 2× of the finest axis that can
    still be pooled; its kernel is 1 until its spacing is within 2× of the finest, 3 from then on.
    """
    size, current = list(map(float, patch)), list(spacing)
    dimension = len(patch)
    kernel = [1] * dimension
    strides: list[tuple[int, ...]] = [(1,) * dimension]
    kernels: list[tuple[int, ...]] = []
    while True:
        kernel = [3 if kernel[a] == 3 or current[a] / min(current) < SPACING_RATIO else 1 for a in range(dimension)]
        poolable = _poolable(size, current)
        if not poolable:
            kernels.append(tuple(kernel) if len(kernels) == 0 else (3,) * dimension)
            return Topology(tuple(strides), tuple(kernels))
        kernels.append(tuple(kernel))
        stride = tuple(2 if axis in poolable else 1 for axis in range(dimension))
        strides.append(stride)
        size = [math.ceil(n / s) for n, s in zip(size, stride, strict=True)]
        current = [c * s for c, s in zip(current, stride, strict=True)]


def _poolable(size: list[float], spacing: list[float]) -> list[int]:
    axes = [axis for axis in range(len(size)) if size[axis] >= 2 * SMALLEST_BOTTLENECK]
    if not axes:
        return []
    finest = min(spacing[axis] for axis in axes)
    axes = [axis for axis in axes if spacing[axis] / finest < SPACING_RATIO]
    if len(axes) == 1 and size[axes[0]] < 3 * SMALLEST_BOTTLENECK:
        return []
    return axes


def pad_to_divisor(patch: tuple[int, ...], spacing: tuple[float, ...]) -> tuple[tuple[int, ...], Topology]:
    """Grow ``patch`` to a multiple of its topology's divisor; return it with that topology."""
    plan = topology(patch, spacing)
    grown = tuple(math.ceil(n / d) * d for n, d in zip(patch, plan.divisor, strict=True))
    # The grown patch keeps the strides of the smaller patch: no pooling step is added.
    return grown, plan


def pooling_reasons(plan: Topology, patch: tuple[int, ...], spacing: tuple[float, ...]) -> tuple[str, ...]:
    """Explain for each axis how often it is pooled, why not more often, and in which stages its kernel is 1."""
    return tuple(_axis_reason(plan, patch, spacing, axis) for axis in range(len(patch)))


def _axis_reason(plan: Topology, patch: tuple[int, ...], spacing: tuple[float, ...], axis: int) -> str:
    pools = sum(stride[axis] > 1 for stride in plan.strides)
    left = patch[axis] // plan.divisor[axis]
    if left < 2 * SMALLEST_BOTTLENECK:
        stops = f"half of that would be below {SMALLEST_BOTTLENECK}"
    else:
        stops = f"it is still {SPACING_RATIO:g}× as coarse as the others, or would be pooled alone"
    flat = sum(kernel[axis] == 1 for kernel in plan.kernels)
    kernels = (
        f"; kernel 1 in {flat} stages, where its spacing is at least {SPACING_RATIO:g}× the finest" if flat else ""
    )
    name = AXES[axis - len(patch)]
    return f"{name} ({spacing[axis]:.3g} mm) is pooled {pools} times, {patch[axis]} → {left} voxels: {stops}{kernels}"
