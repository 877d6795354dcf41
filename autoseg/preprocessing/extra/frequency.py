"""Maps on a coarse grid of cells: class frequencies of label maps, and images averaged over the cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from autoseg.data.dataset import IGNORED


def overlaps(size: int, cells: int) -> np.ndarray:
    """Return the fraction of each cell that each voxel covers, [cells,size] for ``size`` voxels; rows sum to 1."""
    voxels = np.linspace(0.0, 1.0, size + 1)
    ends = np.linspace(0.0, 1.0, cells + 1)
    shared = np.minimum(ends[1:, None], voxels[None, 1:]) - np.maximum(ends[:-1, None], voxels[None, :-1])
    covered: np.ndarray = np.maximum(shared, 0.0) * cells
    return covered


def in_cells(image: np.ndarray, grid: Sequence[int]) -> np.ndarray:
    """Average an image [Z,Y,X] over each cell of a grid that covers it; returns [*grid] float64."""
    result = image.astype(np.float64)
    for axis, cells in enumerate(grid):
        result = np.moveaxis(np.tensordot(overlaps(image.shape[axis], cells), result, axes=(1, axis)), 0, axis)
    return result


class Frequencies:
    """The fraction of each cell that each label covers, averaged over the added cases."""

    def __init__(self, labels: int, grid: Sequence[int]) -> None:
        self.grid = tuple(grid)
        self.covered = np.zeros((labels, *self.grid))
        self.known = np.zeros((labels, *self.grid))

    def add(self, labels: np.ndarray, annotated: Mapping[int, bool]) -> None:
        """Add a preprocessed label map [Z,Y,X]; ignored voxels and labels not annotated in it are excluded."""
        known = in_cells(labels != IGNORED, self.grid)
        for label, counts in annotated.items():
            if counts:
                self.covered[label - 1] += in_cells(labels == label, self.grid)
                self.known[label - 1] += known

    @property
    def maps(self) -> np.ndarray:
        """The frequencies [labels,*grid] float32, from 0 to 1; 0 without annotated voxels."""
        return np.divide(self.covered, self.known, out=np.zeros_like(self.covered), where=self.known > 0).astype(
            np.float32
        )
