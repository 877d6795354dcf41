"""Metrics as a table on the terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.table import Table

from autoseg.cli.display import console

if TYPE_CHECKING:
    from autoseg.evaluation.summary import Statistics, Summary

_COLUMNS = {
    "dice": "Dice",
    "iou": "IoU",
    "precision": "precision",
    "recall": "recall",
    "hd95": "HD95 mm",
    "assd": "ASSD mm",
    "relative_volume_difference": "volume diff.",
}


def print_summary(summary: Summary) -> None:
    """Show mean ± SD (median) of each class, and the mean Dice of all."""
    table = Table("class", *_COLUMNS.values(), title=f"{len(summary.cases)} cases: mean ± SD (median)")
    for name, statistics in summary.classes.items():
        table.add_row(name, *(_cell(statistics[metric]) for metric in _COLUMNS))
    console.print(table)
    console.print(f"mean Dice {_number(summary.mean_dice, 4)}")


def _cell(statistics: Statistics) -> str:
    if not statistics.count:
        return "–"
    return f"{_number(statistics.mean)} ± {_number(statistics.sd)} ({_number(statistics.median)})"


def _number(value: float, digits: int = 3) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"
