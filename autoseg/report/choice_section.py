"""What the report tells of the choice of what predicts: the JSON files that it left, whatever stands in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autoseg.choice.calibration import LOWEST, Calibration
from autoseg.errors import WorkspaceError
from autoseg.records import from_plain
from autoseg.report.plan_section import described
from autoseg.report.reliability_plot import reliability_plot
from autoseg.report.results_section import Plot
from autoseg.report.tables import Table, number
from autoseg.storage import read_json
from autoseg.workspace import Workspace

_FILES = {
    "Chosen": "ensemble.json",
    "Cross-validation of the choice": "cross_validation.json",
    "Post-processing": "postprocessing.json",
}
_PLOTTED = "calibration"
_MOST_ROWS = 20
_MOST_LETTERS = 300


def choice_tables(workspace: Workspace) -> list[Table]:
    """Describe what was chosen and why, in tables; none where nothing was chosen."""
    found = {title: workspace.root / name for title, name in _FILES.items()}
    return [
        table for title, path in found.items() if path.exists() for table in tables_of(title, read_json(path)) if table
    ]


def calibration_plot(workspace: Workspace) -> Plot | None:
    """Draw how often the probabilities of what was chosen were right; None where that was not measured."""
    path = workspace.cross_validation_file
    plain = read_json(path) if path.exists() else None
    found = plain.get(_PLOTTED) if isinstance(plain, Mapping) else None
    if found is None:
        return None
    measured = from_plain(Calibration, found, source=f"{path}: field '{_PLOTTED}'", error=WorkspaceError)
    title = "Share of voxels that hold a class, by the probability that it was given"
    svg = reliability_plot(measured.reliability, name="calibration", title=title, xlabel="probability", ylabel="share")
    caption = f"{title}: held-out cases, all foreground classes, probabilities from {LOWEST:g}"
    return Plot(svg, caption)


def tables_of(title: str, plain: Any) -> list[Table]:
    """Turn plain JSON values into tables: one of single values, and one for each list of alternatives."""
    if not isinstance(plain, Mapping):
        return [Table(title, ("", "Value"), (("content", _cut(described(plain))),))] if plain else []
    plain = {key: value for key, value in plain.items() if key != _PLOTTED}
    lists = {key: value for key, value in plain.items() if _are_results(value)}
    single = [row for key, value in plain.items() if key not in lists for row in _rows(_words(key), value)]
    tables = [Table(title, ("", "Value"), tuple(single[:_MOST_ROWS]), _left_out(single))] if single else []
    return tables + [_results(f"{title}: {_words(key)}", value) for key, value in lists.items()]


def _are_results(value: Any) -> bool:
    """Tell whether a value is a list of what was compared, each with the configurations that it is about."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(item, Mapping) and isinstance(item.get("configurations"), list) for item in value)
    )


def _results(title: str, results: Sequence[Mapping[str, Any]]) -> Table:
    """Compare what was tried: single configurations and ensembles, with the difference from the best single one."""
    rows = [(_name(result), number(result.get("dice"), 4), _interval(result)) for result in results]
    header = ("Configurations", "Mean Dice", "Minus the best single one, 95 % interval")
    return Table(title, header, tuple(rows[:_MOST_ROWS]), _left_out(rows))


def _name(result: Mapping[str, Any]) -> str:
    members = [str(member) for member in result["configurations"]]
    return f"{result['what']}: {len(members)} configurations" if result.get("what") else " + ".join(members)


def _interval(result: Mapping[str, Any]) -> str:
    found = result.get("difference")
    return _described_interval(found) if isinstance(found, Mapping) else number(None)


def _described_interval(found: Mapping[str, Any]) -> str:
    mean, low, high = (number(found.get(key), 4) for key in ("mean", "low", "high"))
    return mean if found.get("low") is None else f"{mean} ({low} to {high})"


def _rows(name: str, value: Any) -> list[tuple[str, str]]:
    """Write a value in one row, or an object that is no component in a row for each of its fields."""
    if isinstance(value, Mapping) and {"mean", "low", "high"} <= value.keys():
        return [(name, _described_interval(value))]
    if isinstance(value, Mapping) and "name" not in value:
        return [row for key, item in value.items() for row in _rows(f"{name}: {_words(key)}", item)]
    if isinstance(value, float):
        return [(name, number(value, 4))]
    if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        return [(f"{name} {place}", _cut(described(item))) for place, item in enumerate(value, 1)]
    return [(name, _cut(described(value)) or "none")]


def _words(key: object) -> str:
    return str(key).replace("_", " ")


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_LETTERS else text[: _MOST_LETTERS - 1] + "…"


def _left_out(rows: Sequence[Any]) -> str:
    return f"The first {_MOST_ROWS} of {len(rows)}." if len(rows) > _MOST_ROWS else ""
