"""The extra channels of a plan: as declared, with what is fitted to the data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from autoseg.dataset import Dataset
from autoseg.images import read_volume
from autoseg.plan import Component, Decision
from autoseg.planners.wording import times

PRIOR_CELLS = 24
"""Cells of a prior map along an axis: coarse enough that some tens of cases fill it smoothly, fine enough to tell one
organ from the next. A file's map is averaged to as many."""


@dataclass(frozen=True)
class Extra:
    """The extra channels of a configuration."""

    specs: dict[str, Component]
    decisions: tuple[Decision, ...] = ()


def extra_specs(dataset: Dataset, shape: tuple[int, int, int]) -> Extra:
    """Fit what is declared to the data; ``shape`` are the voxels of the median case along the plan's axes."""
    specs = {name: _fitted(spec, dataset, shape) for name, spec in dataset.extra_channels.items()}
    return Extra(specs, tuple(_decision(name, spec) for name, spec in specs.items()))


def _fitted(spec: Component, dataset: Dataset, shape: tuple[int, int, int]) -> Component:
    if spec["name"] != "prior_map":
        return spec
    maps = len(read_volume([Path(spec["file"])]).array) if spec.get("file") else len(dataset.values)
    # An axis of a single slice has no places to tell apart.
    return {"grid": [min(PRIOR_CELLS, size) for size in shape], "maps": maps, **spec}


def _decision(name: str, spec: Component) -> Decision:
    about: tuple[str, ...] = ("declared in dataset.json",)
    if spec["name"] == "prior_map":
        origin = Path(spec["file"]).name if spec.get("file") else "of each fold's training cases"
        about = (*about, f"{spec['maps']} maps of {times(spec['grid'])} cells, {origin}")
    return Decision("data", f"extra channel '{name}': {spec['name']}", about)
