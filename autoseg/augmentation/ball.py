"""Binary dilation, erosion, opening and closing by a ball, eight voxels in one operation."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]

ROUNDING = 1e-6
"""Voxels this little outside the ball belong to it: 0.1 × 3 is not quite 0.3."""


@dataclass(frozen=True)
class Ball:
    """A ball of ``radius``, in the unit in which ``spacing`` gives the edges (z, y, x) of a voxel."""

    radius: float
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @property
    def reach(self) -> tuple[int, int, int]:
        """Voxels from the centre to the farthest along each axis."""
        z, y, x = (int(self.radius / edge + ROUNDING) for edge in self.spacing)
        return z, y, x

    def rows(self) -> Mapping[int, Sequence[tuple[int, int]]]:
        """Return the ball's rows along x: those (z, y) that reach so many voxels to either side."""
        deep, high, _ = self.reach
        found: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for z in range(-deep, deep + 1):
            for y in range(-high, high + 1):
                left = self.radius**2 - (z * self.spacing[0]) ** 2 - (y * self.spacing[1]) ** 2
                if left >= -ROUNDING:
                    found[int(math.sqrt(max(left, 0.0)) / self.spacing[2] + ROUNDING)].append((z, y))
        return found


def dilated(mask: Mask, ball: Ball) -> Mask:
    """Return the voxels within a ball of any voxel of ``mask`` [Z,Y,X]; nothing reaches in from outside.

    The ball is the union of its rows: the mask is widened along x one voxel at a time, and each width, as bits, is
    shifted to where the rows of that width are. A ball of radius 8 takes 197 shifts, each of an eighth of the voxels.
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
    """Return the voxels of ``mask`` [Z,Y,X] whose ball lies in it; what is outside the array counts as part of it.

    The edge of a patch is none of the anatomy, from which nothing should be taken away.
    """
    return ~dilated(~mask, ball)


def opened(mask: Mask, ball: Ball) -> Mask:
    """Return what is left of ``mask`` where the ball fits in: thin parts vanish."""
    return dilated(eroded(mask, ball), ball)


def closed(mask: Mask, ball: Ball) -> Mask:
    """Return ``mask`` with what the ball cannot enter from outside: gaps and holes are filled."""
    return eroded(dilated(mask, ball), ball)


OPERATIONS: tuple[Callable[[Mask, Ball], Mask], ...] = (dilated, eroded, opened, closed)


def _add_shifted(total: npt.NDArray[np.uint8], bits: npt.NDArray[np.uint8], by: tuple[int, int]) -> None:
    """Add bits [Z,Y,bytes], shifted along z and y, to a total in place."""
    if any(abs(shift) >= n for shift, n in zip(by, bits.shape, strict=False)):
        return
    into = tuple(slice(max(shift, 0), n + min(shift, 0)) for shift, n in zip(by, bits.shape, strict=False))
    taken = tuple(slice(max(-shift, 0), n + min(-shift, 0)) for shift, n in zip(by, bits.shape, strict=False))
    total[into] |= bits[taken]
