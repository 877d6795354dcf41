"""Extra channels: how often each class occurs at a position in the body."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from autoseg.data.dataset import CaseFiles, Dataset
from autoseg.errors import PlanError, TrainingError
from autoseg.images.geometry import Geometry
from autoseg.images.volumes import read_volume
from autoseg.plan.schema import Plan
from autoseg.preprocessing.extra import TrainingCases, extra_channels
from autoseg.preprocessing.extra.frequency import Frequencies, in_cells
from autoseg.preprocessing.extra.grid import Grid
from autoseg.preprocessing.record import reorientation_to_plan
from autoseg.registry import Component
from autoseg.system.units import times

PRIOR_CELLS = 24
"""Cells of a planned map along an axis: coarse enough for a smooth map from some tens of cases, fine enough to separate
neighbouring organs. The map of a file is averaged to the same number of cells."""
LARGEST_GRID = 256
"""Maximum number of cells along an axis; a map finer than most images adds no information."""


@extra_channels.register("prior_map")
@dataclass(frozen=True)
class PriorMap:
    """A map of class frequencies; the network reads its values at the position of each voxel in the body.

    Each fold has its own map, computed from its training cases only and stored with its weights
    (:mod:`autoseg.preprocessing.extra.prior_map_layer`). A map that included validation cases would show the network
    their labels. So a preprocessed case does not contain the map, but the positions at which to read it: relative to
    the non-zero crop box or, for a map from a file, relative to the whole image. There is no registration: all cases
    must show the same part of the body.

    Four channels are stored: p·w for each axis and w (homogeneous coordinates), with w = 1. Padding with zeros, or
    blending with them when a patch is rotated, reduces w below 1, but the position p stays correct.
    """

    fitted: ClassVar[Component] = {"grid": [1, 1, 1], "maps": 1}
    grid: Sequence[int]
    """Number of cells of the map along z, y, x of the plan."""
    maps: int
    """Number of maps: one per label value, or the number of channels of the file."""
    file: str | None = None
    """An image file whose channels are the maps, in the space of the images, instead of training frequencies."""

    def __post_init__(self) -> None:
        place = "extra_channels 'prior_map', argument"
        if len(self.grid) != 3 or not all(1 <= cells <= LARGEST_GRID for cells in self.grid):
            expected = f"three numbers of cells from 1 to {LARGEST_GRID}"
            raise PlanError(f"{place} 'grid': found {list(self.grid)}, expected {expected}")
        if self.maps < 1:
            raise PlanError(f"{place} 'maps': found {self.maps}, expected at least 1")

    @property
    def channels(self) -> int:
        """Three coordinates and their weight."""
        return 4

    def __call__(self, grid: Grid, files: CaseFiles | None) -> np.ndarray:
        """Compute [4,Z,Y,X]."""
        where = grid.in_box if self.file is None else grid.in_image
        weight = np.ones((1, *grid.preprocessing.shape), dtype=np.float32)
        return np.concatenate([grid.spread([where(axis) for axis in range(3)]), weight])

    def check(self, geometry: Geometry, files: CaseFiles) -> None:
        """No file of a case is read."""

    def paths(self, files: CaseFiles) -> tuple[Path, ...]:
        """No file of a case is read."""
        return ()

    def mirrored(self, axis: int, transpose: tuple[int, int, int]) -> tuple[int, ...]:
        """Return the coordinate to negate: a mirrored voxel reads the map on its new side of the body."""
        return (axis,)

    @staticmethod
    def fit(spec: Component, dataset: Dataset, shape: tuple[int, int, int]) -> Component:
        """Choose the grid and count the maps; an axis has at most one cell per voxel of the median case."""
        maps = len(read_volume([Path(spec["file"])]).array) if spec.get("file") else len(dataset.values)
        return {"grid": [min(PRIOR_CELLS, size) for size in shape], "maps": maps, **spec}

    @property
    def detail(self) -> str:
        """Describe the maps."""
        origin = Path(self.file).name if self.file else "of each fold's training cases"
        return f"{self.maps} maps of {times(self.grid)} cells, {origin}"

    def fault(self, dataset: Dataset) -> str | None:
        """Return an error message if the number of training maps differs from the dataset's number of labels."""
        labels = len(dataset.values)
        if self.file or self.maps == labels:
            return None
        return (
            f"'maps': found {self.maps}, expected {labels}, the label values of the dataset; plan again with --replan"
        )

    def layer(self, in_channels: int, first: int) -> Any:
        """Return the layer that reads the map at the stored positions."""
        from autoseg.preprocessing.extra.prior_map_layer import PriorMapLayer

        return PriorMapLayer(in_channels=in_channels, channel=first, maps=self.maps, grid=self.grid)

    def learn(self, layer: Any, cases: TrainingCases) -> None:
        """Set the layer's maps to the label frequencies of the training cases, or to the maps of the file.

        Raises :class:`TrainingError` if the file's channels differ in number from the plan, or are not finite.
        """
        import torch

        maps = map_from_file(self, cases.plan) if self.file else frequency_maps(self, cases)
        layer.map.copy_(torch.from_numpy(maps))


def frequency_maps(prior: PriorMap, cases: TrainingCases) -> np.ndarray:
    """Compute how often each label covers each cell in preprocessed cases; returns [labels,*grid] float32."""
    dataset = cases.dataset
    found = Frequencies(len(dataset.values), prior.grid)
    for name in cases.names:
        values = {value for members in dataset.annotated_classes(name).values() for value in members}
        annotated = {label: value in values for label, value in enumerate(dataset.values, start=1)}
        found.add(cases.read_labels(name), annotated)
    return found.maps


def map_from_file(prior: PriorMap, plan: Plan) -> np.ndarray:
    """Average the maps of a file over the cells of the grid, in the plan's axes; returns [maps,*grid] float32."""
    volume = read_volume([Path(prior.file or "")])
    if len(volume.array) != prior.maps or not np.isfinite(volume.array).all():
        raise TrainingError(
            f"{prior.file}: found {len(volume.array)} channels, expected {prior.maps} of finite values, as when "
            "the plan was made; restore the file or plan again"
        )
    turned = reorientation_to_plan(volume.geometry, plan).apply(volume.array)
    return np.stack([in_cells(channel, prior.grid) for channel in turned]).astype(np.float32)
