"""Extra channels of a plan: declared in the dataset, with parameters fitted to the data."""

from __future__ import annotations

from dataclasses import dataclass

from autoseg.data.dataset import Dataset
from autoseg.plan.schema import Decision
from autoseg.preprocessing.extra import extra_channels
from autoseg.registry import Component


@dataclass(frozen=True)
class Extra:
    """The extra channels of a configuration."""

    specs: dict[str, Component]
    decisions: tuple[Decision, ...] = ()


def extra_specs(dataset: Dataset, shape: tuple[int, int, int]) -> Extra:
    """Fit the declared extra channels to the data; ``shape`` is the median case in voxels, in the plan's axis order."""
    specs = {name: _fitted(spec, dataset, shape) for name, spec in dataset.extra_channels.items()}
    return Extra(specs, tuple(_decision(name, spec) for name, spec in specs.items()))


def _fitted(spec: Component, dataset: Dataset, shape: tuple[int, int, int]) -> Component:
    kind = extra_channels.get(spec["name"])
    return kind.fit(spec, dataset, shape) if hasattr(kind, "fit") else spec  # type: ignore[no-any-return]


def _decision(name: str, spec: Component) -> Decision:
    detail = getattr(extra_channels.build(spec), "detail", None)
    about = ("declared in dataset.json", *([detail] if detail else []))
    return Decision("data", f"extra channel '{name}': {spec['name']}", about)
