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
    "iou": "IoU",
    "precision": "precision",
    "recall": "recall",
    "hd95": "HD95",
    "assd": "ASSD",
    "relative_volume_difference": "volume",
}


def print_summary(summary: Summary) -> None:
    """Show Dice of each class as mean ± SD (median), the other metrics as means, and the mean Dice of all classes."""
    table = Table(box=SIMPLE, title=f"means over {len(summary.cases)} cases, distances in mm", padding=(0, 1, 0, 0))
    for column in ("class", "Dice ± SD (median)", *_COLUMNS.values()):
        table.add_column(column, no_wrap=True)
    for name, statistics in summary.classes.items():
        table.add_row(name, _spread(statistics["dice"]), *(_number(statistics[metric].mean) for metric in _COLUMNS))
    console.print(table)
    console.print(f"mean Dice {_number(summary.mean_dice, 4)}")


def _spread(statistics: Statistics) -> str:
    if not statistics.count:
        return "–"
    return f"{_number(statistics.mean)} ± {_number(statistics.sd)} ({_number(statistics.median)})"


def _number(value: float, digits: int = 3) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"
