"""Channels that are computed beside those of the image: where a voxel lies, how far from a landmark, what is usual.

Each is a frozen dataclass whose fields are the arguments that a dataset's description, and then the plan, lists. They
are computed on the preprocessed grid, are not normalized, move with the patch, and no augmentation of intensities sees
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from autoseg.dataset import Case
from autoseg.errors import ImageError
from autoseg.geometry import Geometry
from autoseg.plan import Component, Configuration
from autoseg.preprocessing.normalization import output_channels
from autoseg.registry import Registry

if TYPE_CHECKING:
    from autoseg.preprocessing.extra.grid import Grid

extra_channels: Registry = Registry(
    "extra_channels",
    modules=tuple(f"autoseg.preprocessing.extra.{module}" for module in ("distance", "position", "prior_map")),
)


@dataclass(frozen=True)
class CaseFiles:
    """Where further files of a case lie: in sub-folders of the folder of its images, called as the case is."""

    folder: Path
    name: str


class ExtraChannel(Protocol):
    """What a declared channel becomes.

    One further attribute is read where there is one: ``fitted``, arguments that the planner finds, with values that
    stand for them until then.
    """

    @property
    def channels(self) -> int:
        """How many it makes."""

    def __call__(self, grid: Grid, files: CaseFiles | None) -> np.ndarray:
        """Compute [channels,Z,Y,X] float32; raise :class:`ImageError` where a file that it needs cannot be used."""

    def check(self, geometry: Geometry, files: CaseFiles) -> None:
        """Raise :class:`ImageError` where a file of the case cannot be used."""

    def paths(self, files: CaseFiles) -> tuple[Path, ...]:
        """Return the files of a case that decide it."""

    def mirrored(self, axis: int, transpose: tuple[int, int, int]) -> tuple[int, ...]:
        """Return which of its channels change sign where the body is mirrored along an axis of the plan."""


def compute(specs: Mapping[str, Component], grid: Grid, files: CaseFiles | None) -> np.ndarray:
    """Compute all extra channels of a case, [channels,Z,Y,X] float32; an :class:`ImageError` names the field."""
    made = [np.empty((0, *grid.steps.shape), dtype=np.float32)]
    for name, spec in specs.items():
        try:
            made.append(extra_channels.build(spec)(grid, files))
        except ImageError as error:
            raise ImageError(f"field 'extra_channels.{name}': {error}") from None
    return np.concatenate(made)


def extra_count(specs: Mapping[str, Component]) -> int:
    """Count the channels that are computed."""
    return sum(extra_channels.build(spec).channels for spec in specs.values())


def stored_channels(configuration: Configuration) -> int:
    """Count the channels of preprocessed images: those of the image, then those that are computed."""
    return output_channels(configuration.normalization) + extra_count(configuration.extra_channels)


def mirrored_channels(configuration: Configuration, axis: int, transpose: tuple[int, int, int]) -> tuple[int, ...]:
    """Return the channels of preprocessed images that change sign where the body is mirrored along an axis."""
    found: list[int] = []
    first = output_channels(configuration.normalization)
    for spec in configuration.extra_channels.values():
        chosen: ExtraChannel = extra_channels.build(spec)
        found += [first + channel for channel in chosen.mirrored(axis, transpose)]
        first += chosen.channels
    return tuple(found)


def without_places(specs: Mapping[str, Component]) -> dict[str, Component]:
    """Return specs in which files have their names alone: where they lay is nobody else's business."""
    return {
        name: {**spec, "file": Path(spec["file"]).name} if spec.get("file") else dict(spec)
        for name, spec in specs.items()
    }


def files_of(case: Case) -> CaseFiles:
    """Return where further files of a case in image files lie."""
    return CaseFiles(case.images[0].parent, case.name)
