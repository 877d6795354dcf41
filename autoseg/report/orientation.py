"""Turning images so that people see them as radiologists hang them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from autoseg.geometry import Geometry


@dataclass(frozen=True)
class View:
    """How the axes of an array are ordered and turned to run towards superior, posterior and left, nearly.

    ``axes[i]`` is the array's axis, of (z, y, x), that becomes axis i; ``flipped`` says which of the new axes run
    backwards. ``spacing`` is in mm along the new axes.
    """

    axes: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]
    spacing: tuple[float, float, float]

    def turned(self, array: np.ndarray) -> np.ndarray:
        """Return a view of an array [Z,Y,X] with its axes towards superior, posterior and left; nothing is copied."""
        turned = array.transpose(self.axes)
        return turned[tuple(slice(None, None, -1) if flip else slice(None) for flip in self.flipped)]


def radiological(geometry: Geometry) -> View:
    """Find the order and the turns of an image's axes that lie nearest to the patient's.

    Directions are those of ITK and DICOM: to the left, posterior and superior. A 2D image stays as it is, since its
    file does not say how it lies in the patient.
    """
    if len(geometry.direction) != 9:
        return View((0, 1, 2), (False, False, False), geometry.spacing)
    # Columns are the axes of the file, x first; rows are left, posterior, superior: both are reversed here.
    cosines = np.array(geometry.direction).reshape(3, 3)[::-1, ::-1]

    def agreement(order: Sequence[int]) -> float:
        return float(sum(abs(cosines[row, axis]) for row, axis in enumerate(order)))

    first, second, third = max(permutations(range(3)), key=agreement)
    axes = (first, second, third)
    z, y, x = (bool(cosines[row, axis] < 0) for row, axis in enumerate(axes))
    spacing = geometry.spacing
    return View(axes, (z, y, x), (spacing[first], spacing[second], spacing[third]))
