"""Section of the report about the plan: its configurations in one table, and general facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoseg.plan.schema import Configuration, Plan
from autoseg.report.tables import Table, listed
from autoseg.system.memory import format_bytes
from autoseg.system.units import format_duration

_MOST_CHANNELS = 6
_BYTES_PER_GB = 2**30
_UNITS = {"memory": format_bytes, "time_budget": format_duration}


def plan_facts(plan: Plan) -> dict[str, str]:
    """Return the facts that are valid for all configurations, one line of text for each title."""
    mirrored = ", ".join("zyx"[axis] for axis in plan.mirror_axes) or "none"
    facts = {"Planner": plan.planner, "Mirrored axes": mirrored}
    if plan.memory is not None:
        facts["Memory of a training step"] = f"{plan.memory / _BYTES_PER_GB:.1f} GB at most"
    asked = {name: value for name, value in plan.request.items() if value not in (None, [], {})}
    if asked:
        written = {key: write(asked[key]) for key, write in _UNITS.items() if key in asked}
        facts["Asked for"] = described(asked | written)
    return facts


def plan_table(plan: Plan) -> Table:
    """Return a table with one column for each configuration."""
    columns = [_column(configuration) for configuration in plan.configurations.values()]
    rows = tuple((name, *(column[name] for column in columns)) for name in columns[0])
    return Table("Configurations", ("", *plan.configurations), rows)


def _column(configuration: Configuration) -> dict[str, str]:
    training, network = configuration.training, configuration.network
    length = "–" if training.iterations is None else f"{training.iterations:,} steps"
    if training.time_budget is not None:
        length = f"{format_duration(training.time_budget)} a fold"
    return {
        "Spacing (z, y, x), mm": "×".join("own" if s is None else f"{s:.4g}" for s in configuration.spacing),
        "Median size, voxels": "×".join(map(str, configuration.median_shape)),
        "Patch, voxels": "×".join(map(str, configuration.patch_size)),
        "Batch": str(configuration.batch_size),
        "Normalization": listed([str(step.get("name")) for step in configuration.normalization], _MOST_CHANNELS),
        "Computed channels": listed(list(configuration.extra_channels), _MOST_CHANNELS) or "–",
        "Network": str(network.get("name")),
        "Features": described(network.get("features", "–")),
        "Loss": described(configuration.loss),
        "Sampling": described(configuration.sampling),
        "Augmentation": described(configuration.augmentation),
        "Optimizer": described(training.optimizer),
        "Schedule": described(training.schedule),
        "Length": length,
        "Precision": configuration.precision,
        "Previous stage": configuration.previous_stage or "–",
    }


def described(value: Any) -> str:
    """Format plain JSON values as text: a component as its name and arguments, a list with commas."""
    if isinstance(value, Mapping):
        arguments = [f"{key} {described(item)}" for key, item in value.items() if key != "name"]
        named = [described(value["name"])] if "name" in value else []
        return ", ".join([*named, *arguments])
    if isinstance(value, list | tuple):
        return ", ".join(f"({described(item)})" if isinstance(item, list | dict) else described(item) for item in value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return {True: "yes", False: "no", None: "–"}[value] if value is None or isinstance(value, bool) else str(value)
