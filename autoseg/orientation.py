"""Which way the axes of an image run through the body, and turning arrays from one such orientation to another.

An orientation is three letters: for the axes z, y and x of an array, in this order, the side of the patient towards
which its index grows. L and R are the patient's left and right, P and A back and front, S and I up and down; ``SPL`` is
an image along ITK's own axes. An oblique image has the orientation of the nearest axes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Triple = tuple[int, int, int]
Flips = tuple[bool, bool, bool]

NO_FLIPS: Flips = (False, False, False)
AMBIGUOUS_TILT = 30.0
"""Degrees off the nearest axes beyond which these depend on chance: half of 45, at which they change, and a margin."""

_ENDS = ("RL", "AP", "IS")
"""For each of ITK's axes (x, y, z), the sides at which it begins and ends."""
_AXIS_OF = {letter: (axis, ends.index(letter)) for axis, ends in enumerate(_ENDS) for letter in ends}


@dataclass(frozen=True)
class Turn:
    """How a [Z,Y,X] array is brought to another orientation: axis i becomes the former ``axes[i]``, then is flipped."""

    axes: Triple = (0, 1, 2)
    flips: Flips = NO_FLIPS

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Turn the last three axes of an array; returns a view."""
        return flipped(array.transpose(_last_three(array.ndim, self.axes)), self.flips)

    def undo(self, array: np.ndarray) -> np.ndarray:
        """Turn the last three axes of an array back; returns a view."""
        z, y, x = (self.axes.index(axis) for axis in range(3))
        return flipped(array, self.flips).transpose(_last_three(array.ndim, (z, y, x)))

    def then(self, order: Triple) -> Turn:
        """Return the turn that is this one followed by a transposition."""
        z, y, x = order
        axes, flips = self.axes, self.flips
        return Turn((axes[z], axes[y], axes[x]), (flips[z], flips[y], flips[x]))


def is_orientation(text: str) -> bool:
    """Tell whether a text names an orientation: three letters, one for each axis of the body."""
    return bool(re.fullmatch("[LRAPIS]{3}", text)) and len({_AXIS_OF[letter][0] for letter in text}) == 3


def orientation_of(direction: Sequence[float]) -> str:
    """Name the orientation of a grid with ITK's ``direction`` matrix, row by row, of two or three axes.

    A 2D image is taken to lie in the plane of left and right and of back and front.
    """
    cosines = _cosines(direction)
    nearest = _nearest(cosines)
    return "".join(_ENDS[nearest[column]][int(cosines[nearest[column], column] > 0)] for column in (2, 1, 0))


def tilt_of(direction: Sequence[float]) -> float:
    """Return the largest angle, in degrees, between an axis of a grid and the axis of the body nearest to it."""
    cosines = _cosines(direction)
    least = min(abs(cosines[axis, column]) for column, axis in enumerate(_nearest(cosines)))
    return float(np.degrees(np.arccos(min(least, 1.0))))


def turn_between(orientation: str, wanted: str) -> Turn:
    """Return what brings an array of one orientation to another."""
    axes, flips = [], []
    ours = [_AXIS_OF[letter] for letter in orientation]
    for axis, end in (_AXIS_OF[letter] for letter in wanted):
        place = [own for own, _ in ours].index(axis)
        axes.append(place)
        flips.append(ours[place][1] != end)
    return Turn((axes[0], axes[1], axes[2]), (flips[0], flips[1], flips[2]))


def common_orientation(orientations: Sequence[str], tilts: Sequence[float]) -> str | None:
    """Return the orientation to which all cases of a dataset are brought: the one that most of them have.

    None where it is better to leave them as they are stored: where one is not known (empty), or where they differ and
    some are so oblique that chance decided which axes are nearest. Heart images along the heart's own axes are like
    that.
    """
    counts = Counter(orientations)
    if not counts or "" in counts:
        return None
    if len(counts) > 1 and max(tilts) > AMBIGUOUS_TILT:
        return None
    return min(counts, key=lambda name: (-counts[name], name))


def direction_of(orientation: str) -> tuple[float, ...]:
    """Return ITK's direction matrix, row by row, of a grid along the axes of the body with this orientation."""
    matrix = np.zeros((3, 3))
    for column, letter in enumerate(reversed(orientation)):
        axis, end = _AXIS_OF[letter]
        matrix[axis, column] = 1.0 if end else -1.0
    return tuple(float(n) for n in matrix.ravel())


def flipped(array: np.ndarray, flips: Flips) -> np.ndarray:
    """Flip the last three axes of an array where ``flips`` says so; returns a view."""
    if not any(flips):
        return array
    return array[(..., *(slice(None, None, -1) if flip else slice(None) for flip in flips))]


def _last_three(dimensions: int, order: Triple) -> tuple[int, ...]:
    leading = dimensions - 3
    return (*range(leading), *(axis + leading for axis in order))


def _cosines(direction: Sequence[float]) -> np.ndarray:
    """Return the direction matrix, one column an axis (x, y, z); that of a 2D image lies in the plane of x and y."""
    matrix = np.eye(3)
    size = 2 if len(direction) == 4 else 3
    matrix[:size, :size] = np.reshape(direction, (size, size))
    return matrix


def _nearest(cosines: np.ndarray) -> Triple:
    """Return for each column the axis of the body that it is nearest to, as ITK does: no two columns share one."""
    # Rounding keeps the last bits from deciding between axes that are equally near.
    remaining = np.abs(cosines).round(6)
    nearest = [0, 0, 0]
    for _ in nearest:
        axis, column = np.unravel_index(remaining.argmax(), (3, 3))
        nearest[column] = int(axis)
        remaining[axis, :] = remaining[:, column] = -1
    return nearest[0], nearest[1], nearest[2]
