"""Metrics as a table on the terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.box import SIMPLE
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
    """Show Dice of each class as mean ± SD (median), the other metrics as means, and the mean Dice of all classes.

    Dice over the voxels of all cases has a column of its own, and so has Dice per slice where it was measured.
    """
    title = f"means over {len(summary.cases)} cases, distances in mm, NSD at {summary.settings.tolerance:g} mm"
    table = Table(box=SIMPLE, title=title, padding=0)
    sliced = ("per slice",) if summary.slices else ()
    # Too narrow a terminal breaks the names of classes, not the numbers.
    table.add_column("class", overflow="fold")
    for column in ("Dice ± SD (median)", *sliced, "pooled", *_COLUMNS.values()):
        table.add_column(column, no_wrap=True)
    for name, statistics in summary.classes.items():
        table.add_row(
            name,
            _spread(statistics["dice"]),
            *(_number(found.mean) for found in (summary.slices.get(name),) if found),
            _number(summary.pooled[name].dice),
            *(_number(statistics[metric].mean) for metric in _COLUMNS),
        )
    console.print(table)
    console.print(f"mean Dice {_number(summary.mean_dice, 4)}, over all voxels {_number(summary.pooled_dice, 4)}")


def _spread(statistics: Statistics) -> str:
    if not statistics.count:
        return "–"
    return f"{_number(statistics.mean)} ± {_number(statistics.sd)} ({_number(statistics.median)})"


def _number(value: float, digits: int = 3) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"
