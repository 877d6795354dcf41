"""Extra channels, computed in addition to the image channels: position, distance to a landmark, map of frequencies.

Each extra channel is a frozen dataclass. Its fields are the arguments in dataset.json and in the plan. Extra channels
are computed on the preprocessed grid and are not normalized. Spatial augmentation transforms them with the patch;
intensity augmentation does not change them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from autoseg.data.dataset import CaseFiles, Dataset
from autoseg.errors import ImageError
from autoseg.images.geometry import Geometry
from autoseg.plan.schema import Plan
from autoseg.preprocessing.extra.grid import Grid
from autoseg.registry import Component, Registry

extra_channels: Registry = Registry(
    "extra_channels",
    modules=tuple(f"autoseg.preprocessing.extra.{module}" for module in ("distance", "position", "prior_map")),
)


class ExtraChannel(Protocol):
    """The interface of an extra channel.

    Optional attributes: ``fitted``: arguments that the planner fits, with placeholder values used before. The static
    method ``fit(spec, dataset, shape)`` fits them; ``shape`` is the median case's number of voxels along the plan's
    axes. ``detail``: description for the plan's explanation. ``fault(dataset)``: why a plan's channel does not match a
    dataset, or None. If a channel implements :class:`ReadByNetwork`, a layer of the network reads it.
    """

    @property
    def channels(self) -> int:
        """Number of channels that it computes."""

    def __call__(self, grid: Grid, files: CaseFiles | None) -> np.ndarray:
        """Compute [channels,Z,Y,X] float32; raise :class:`ImageError` if a needed file cannot be used."""

    def check(self, geometry: Geometry, files: CaseFiles) -> None:
        """Raise :class:`ImageError` if a file of the case cannot be used."""

    def paths(self, files: CaseFiles) -> tuple[Path, ...]:
        """Return the files of a case that the channel is computed from."""

    def mirrored(self, axis: int, transpose: tuple[int, int, int]) -> tuple[int, ...]:
        """Return which of its channels change sign if the body is mirrored along an axis of the plan."""


@dataclass(frozen=True)
class TrainingCases:
    """The preprocessed training cases of a fold, from which a channel can learn."""

    names: tuple[str, ...]
    read_labels: Callable[[str], np.ndarray]
    """Returns the label indices [Z,Y,X] of a case."""
    dataset: Dataset
    plan: Plan


@runtime_checkable
class ReadByNetwork(Protocol):
    """A channel whose stored values are replaced by a layer, the first layer of the network."""

    def layer(self, in_channels: int, first: int) -> Any:
        """Return the layer, a module with ``out_channels``; the stored channels start at ``first`` in the input."""
        ...

    def learn(self, layer: Any, cases: TrainingCases) -> None:
        """Set the values that the layer learns from the training cases of a fold; called before training."""
        ...


def compute(specs: Mapping[str, Component], grid: Grid, files: CaseFiles | None) -> np.ndarray:
    """Compute all extra channels of a case, [channels,Z,Y,X] float32; raise :class:`ImageError` with the field."""
    made = [np.empty((0, *grid.preprocessing.shape), dtype=np.float32)]
    for name, spec in specs.items():
        try:
            made.append(extra_channels.build(spec)(grid, files))
        except ImageError as error:
            raise ImageError(f"field 'extra_channels.{name}': {error}") from None
    return np.concatenate(made)


def without_places(specs: Mapping[str, Component]) -> dict[str, Component]:
    """Return specs with file names instead of full paths, to keep local folders private."""
    return {
        name: {**spec, "file": Path(spec["file"]).name} if spec.get("file") else dict(spec)
        for name, spec in specs.items()
    }


def built(spec: Component) -> ExtraChannel:
    """Build a declared channel; arguments that the planner fits may be absent."""
    fitted = getattr(extra_channels.get(spec["name"]), "fitted", {})
    made: ExtraChannel = extra_channels.build({**fitted, **spec})
    return made
