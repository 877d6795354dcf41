"""Candidate patches of a configuration, from large to small, each with its topology."""

from __future__ import annotations

import math
from dataclasses import dataclass

from autoseg.networks.planning import Topology
from autoseg.planners.topology import SMALLEST_BOTTLENECK, pad_to_divisor
from autoseg.system.units import AXES, times

LARGEST_PATCH_VOXELS = {2: 2048**2, 3: 256**3}
"""Voxels of the largest patch by dimension; the median shape is smaller in almost every dataset."""
SMALLEST_EDGE = 2 * SMALLEST_BOTTLENECK
"""Smallest edge in voxels to which a patch is shrunk; a shorter axis could not be pooled."""


@dataclass(frozen=True)
class Candidate:
    """A patch in voxels, its topology, and the reason for its size."""

    patch: tuple[int, ...]
    topology: Topology
    origin: str
    margin: tuple[int, ...] | None = None
    """Voxels on each side that are input of the network but not part of its output; None: no margin."""

    @property
    def voxels(self) -> int:
        """Number of voxels of the patch."""
        return math.prod(self.patch)

    @property
    def learned_voxels(self) -> int:
        """Number of voxels of the patch without its margin: the output of the network."""
        margin = self.margin or (0,) * len(self.patch)
        return math.prod(n - 2 * m for n, m in zip(self.patch, margin, strict=True))


def candidates(
    shape: tuple[int, ...], spacing: tuple[float, ...], *, largest_edge: int | None = None
) -> list[Candidate]:
    """List patches from large to small for images of ``shape`` (voxels, two or three axes) at ``spacing`` (mm).

    The first patch is about a cube in millimetres, clipped to the median shape. Each next patch is shorter by one
    divisor along the axis that is longest relative to the median shape. With ``largest_edge``, no patch has more voxels
    than a cube or square with this edge, before it grows to a multiple of the divisor.
    """
    dimension = len(shape)
    largest = LARGEST_PATCH_VOXELS[dimension] if largest_edge is None else largest_edge**dimension
    wanted = _first(shape, spacing, largest)
    origin = f"about the same length in mm along each axis, at most the median image {times(shape)}"
    found = []
    while True:
        patch, plan = pad_to_divisor(tuple(wanted), spacing)
        found.append(Candidate(patch, plan, origin))
        shares = [
            n / whole if grown - divisor >= SMALLEST_EDGE else 0.0
            for n, whole, grown, divisor in zip(wanted, shape, patch, plan.divisor, strict=True)
        ]
        if max(shares) == 0.0:
            return found
        axis = shares.index(max(shares))
        wanted[axis] = patch[axis] - plan.divisor[axis]
        origin = (
            f"{AXES[axis - len(shape)]} from {patch[axis]} to {wanted[axis]}: "
            f"at {shares[axis]:.0%} of the median image, it was the longest axis"
        )


def _first(shape: tuple[int, ...], spacing: tuple[float, ...], largest: int) -> list[int]:
    edge = (largest * math.prod(spacing)) ** (1 / len(shape))
    most = [max(n, SMALLEST_BOTTLENECK) if axis >= len(shape) - 2 else n for axis, n in enumerate(shape)]
    return [min(n, max(1, round(edge / s))) for n, s in zip(most, spacing, strict=True)]
