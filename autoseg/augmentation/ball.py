"""Binary dilation, erosion, opening and closing with a ball; one operation processes eight voxels."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]

ROUNDING = 1e-6
"""Tolerance at the surface of the ball for rounding errors: 0.1 × 3 differs from 0.3."""


@dataclass(frozen=True)
class Ball:
    """A ball of ``radius``; ``spacing`` contains the edges (z, y, x) of a voxel in the same unit."""

    radius: float
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @property
    def reach(self) -> tuple[int, int, int]:
        """Number of voxels from the centre to the farthest voxel along each axis."""
        z, y, x = (int(self.radius / edge + ROUNDING) for edge in self.spacing)
        return z, y, x

    def rows(self) -> Mapping[int, Sequence[tuple[int, int]]]:
        """Return the ball's rows along x: half width in voxels → list of the rows (z, y) with that half width."""
        deep, high, _ = self.reach
        found: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for z in range(-deep, deep + 1):
            for y in range(-high, high + 1):
                left = self.radius**2 - (z * self.spacing[0]) ** 2 - (y * self.spacing[1]) ** 2
                if left >= -ROUNDING:
                    found[int(math.sqrt(max(left, 0.0)) / self.spacing[2] + ROUNDING)].append((z, y))
        return found


def dilated(mask: Mask, ball: Ball) -> Mask:
    """Dilate ``mask`` [Z,Y,X] with a ball; voxels outside the array count as background.

    The ball is the union of its rows. The mask is widened along x one voxel at a time; for each half width, the mask is
    packed to bits and shifted to the rows of that half width. A ball of radius 8 needs 197 shifts, each on an eighth of
    the voxels.
    """
    rows = ball.rows()
    widened = mask.copy()
    bits = np.zeros_like(np.packbits(mask, axis=-1))
    for width in range(max(rows) + 1):
        if 0 < width < mask.shape[-1]:
            widened[..., width:] |= mask[..., :-width]
            widened[..., :-width] |= mask[..., width:]
        if width in rows:
            row = np.packbits(widened, axis=-1)
            for place in rows[width]:
                _add_shifted(bits, row, place)
    return np.unpackbits(bits, axis=-1, count=mask.shape[-1]).view(np.bool_)


def eroded(mask: Mask, ball: Ball) -> Mask:
    """Erode ``mask`` [Z,Y,X] with a ball; voxels outside the array count as part of the mask.

    So the border of a patch, which is no anatomical border, does not erode the mask.
    """
    return ~dilated(~mask, ball)


def opened(mask: Mask, ball: Ball) -> Mask:
    """Open ``mask``: erode, then dilate; removes thin parts that the ball does not fit into."""
    return dilated(eroded(mask, ball), ball)


def closed(mask: Mask, ball: Ball) -> Mask:
    """Close ``mask``: dilate, then erode; fills gaps and holes that the ball does not fit into."""
    return eroded(dilated(mask, ball), ball)


OPERATIONS: tuple[Callable[[Mask, Ball], Mask], ...] = (dilated, eroded, opened, closed)


def _add_shifted(total: npt.NDArray[np.uint8], bits: npt.NDArray[np.uint8], by: tuple[int, int]) -> None:
    """Combine ``bits`` [Z,Y,bytes], shifted along z and y, with ``total`` by OR, in place."""
    if any(abs(shift) >= n for shift, n in zip(by, bits.shape, strict=False)):
        return
    into = tuple(slice(max(shift, 0), n + min(shift, 0)) for shift, n in zip(by, bits.shape, strict=False))
    taken = tuple(slice(max(-shift, 0), n + min(-shift, 0)) for shift, n in zip(by, bits.shape, strict=False))
    total[into] |= bits[taken]
