"""Metrics as a table on the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from autoseg.cli.display import console

if TYPE_CHECKING:
    from autoseg.evaluation.summary import Statistics, Summary

_COLUMNS = {
    "precision": "prec.",
    "recall": "recall",
    "nsd": "NSD",
    "hd95": "HD95",
    "assd": "ASSD",
    "relative_volume_difference": "volume",
}


def print_summary(summary: Summary) -> None:
    """Show the Dice of each class as mean ± SD (median), the other metrics as means, and the mean Dice of all classes.

    The column "pooled" contains the Dice over the voxels of all cases. Dice per slice, if measured, has its own table.
    """
    if not summary.segments:
        _print_metrics(summary)
        return
    title = f"means over {len(summary.cases)} cases, distances in mm, NSD at {summary.settings.tolerance:g} mm"
    table = _table(title, ("Dice ± SD (median)", "pooled", *_COLUMNS.values()))
    for name, statistics in summary.classes.items():
        table.add_row(
            escape(name),
            _spread(statistics["dice"]),
            _number(summary.pooled[name].dice),
            *(_number(statistics[metric].mean) for metric in _COLUMNS),
        )
    console.print(table)
    if summary.slices:
        _print_slices(summary.slices)
    console.print(f"mean Dice {_number(summary.mean_dice, 4)}, over all voxels {_number(summary.pooled_dice, 4)}")
    if summary.metrics:
        _print_metrics(summary)


def _print_metrics(summary: Summary) -> None:
    """Show the metrics of the trainer."""
    values = {name: math.nan if value is None else value for name, value in summary.metrics.items()}
    found = ", ".join(f"{name} {_number(value)}" for name, value in values.items())
    console.print(f"metrics of the trainer: {found or 'none'}", markup=False, soft_wrap=True)


def _print_slices(slices: dict[str, Statistics]) -> None:
    table = _table("Dice per slice", ("Dice ± SD (median)", "quartiles", "slices"))
    for name, found in slices.items():
        quartiles = f"{_number(found.lower_quartile)}–{_number(found.upper_quartile)}" if found.count else "–"
        table.add_row(escape(name), _spread(found), quartiles, str(found.count))
    console.print(table)


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(box=SIMPLE, title=title, padding=0)
    # On a narrow terminal, wrap the class names and not the numbers.
    table.add_column("class", overflow="fold", min_width=8)
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


def _spread(statistics: Statistics) -> str:
    if not statistics.count:
        return "–"
    return f"{_number(statistics.mean)} ± {_number(statistics.sd)} ({_number(statistics.median)})"


def _number(value: float, digits: int = 3) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"
