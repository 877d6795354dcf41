"""Anatomical orientation of image axes, and reorientation of arrays.

An orientation is three letters, for the axes z, y and x of an array in this order. Each letter is the side of the
patient towards which the index grows: L and R left and right, P and A back and front, S and I up and down. ``SPL`` is
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
"""Tilt in degrees above which the nearest axes are ambiguous: half of 45 degrees, where they change, plus a margin."""

_ENDS = ("RL", "AP", "IS")
"""Patient sides at the start and end of each of ITK's axes (x, y, z)."""
_AXIS_OF = {letter: (axis, ends.index(letter)) for axis, ends in enumerate(_ENDS) for letter in ends}


@dataclass(frozen=True)
class Reorientation:
    """Reorientation of a [Z,Y,X] array: new axis i is the old axis ``axes[i]``, flipped if ``flips[i]``."""

    axes: Triple = (0, 1, 2)
    flips: Flips = NO_FLIPS

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Reorient the last three axes of an array; return a view."""
        return flipped(array.transpose(_last_three(array.ndim, self.axes)), self.flips)

    def undo(self, array: np.ndarray) -> np.ndarray:
        """Undo the reorientation of the last three axes of an array; return a view."""
        z, y, x = (self.axes.index(axis) for axis in range(3))
        return flipped(array, self.flips).transpose(_last_three(array.ndim, (z, y, x)))

    def then(self, order: Triple) -> Reorientation:
        """Return this reorientation followed by a transposition to ``order``."""
        z, y, x = order
        axes, flips = self.axes, self.flips
        return Reorientation((axes[z], axes[y], axes[x]), (flips[z], flips[y], flips[x]))


def is_orientation(text: str) -> bool:
    """Return whether a text is a valid orientation: three letters, one for each axis of the body."""
    return bool(re.fullmatch("[LRAPIS]{3}", text)) and len({_AXIS_OF[letter][0] for letter in text}) == 3


def orientation_of(direction: Sequence[float]) -> str:
    """Return the orientation of a grid from ITK's ``direction`` matrix, row by row, of two or three axes.

    A 2D image is assumed to be an axial slice: its axes run left to right and front to back.
    """
    cosines = _cosines(direction)
    nearest = _nearest(cosines)
    return "".join(_ENDS[nearest[column]][int(cosines[nearest[column], column] > 0)] for column in (2, 1, 0))


def tilt_of(direction: Sequence[float]) -> float:
    """Return the largest angle, in degrees, between an axis of a grid and the axis of the body nearest to it."""
    cosines = _cosines(direction)
    least = min(abs(cosines[axis, column]) for column, axis in enumerate(_nearest(cosines)))
    return float(np.degrees(np.arccos(min(least, 1.0))))


def reorientation_between(orientation: str, wanted: str) -> Reorientation:
    """Return the reorientation from one orientation to another."""
    axes, flips = [], []
    ours = [_AXIS_OF[letter] for letter in orientation]
    for axis, end in (_AXIS_OF[letter] for letter in wanted):
        place = [own for own, _ in ours].index(axis)
        axes.append(place)
        flips.append(ours[place][1] != end)
    return Reorientation((axes[0], axes[1], axes[2]), (flips[0], flips[1], flips[2]))


def common_orientation(orientations: Sequence[str], tilts: Sequence[float]) -> str | None:
    """Return the common orientation of a dataset, to which all cases are reoriented: the most frequent one.

    Returns None if the images should keep their stored orientation: if one is unknown (empty), or if orientations
    differ and some images are so oblique that their nearest axes are ambiguous. Heart images along the heart's own axes
    are an example.
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
    """Flip those of the last three axes of an array that ``flips`` selects; return a view."""
    if not any(flips):
        return array
    return array[(..., *(slice(None, None, -1) if flip else slice(None) for flip in flips))]


def _last_three(dimensions: int, order: Triple) -> tuple[int, ...]:
    leading = dimensions - 3
    return (*range(leading), *(axis + leading for axis in order))


def _cosines(direction: Sequence[float]) -> np.ndarray:
    """Return the direction matrix, one column for each axis (x, y, z); a 2D image lies in the plane of x and y."""
    matrix = np.eye(3)
    size = 2 if len(direction) == 4 else 3
    matrix[:size, :size] = np.reshape(direction, (size, size))
    return matrix


def _nearest(cosines: np.ndarray) -> Triple:
    """Return the nearest body axis for each column, a different one for each, as ITK does."""
    # Rounding makes the choice between equally near axes independent of the last bits.
    remaining = np.abs(cosines).round(6)
    nearest = [0, 0, 0]
    for _ in nearest:
        axis, column = np.unravel_index(remaining.argmax(), (3, 3))
        nearest[column] = int(axis)
        remaining[axis, :] = remaining[:, column] = -1
    return nearest[0], nearest[1], nearest[2]
