"""A comparison of two evaluations as a table on the terminal."""

from __future__ import annotations

import math

from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from autoseg.cli.display import console
from autoseg.evaluation.comparison import ComparedClass, Comparison

SMALLEST_P = 1e-3
"""Smaller p-values are printed with one digit and an exponent."""


def print_comparison(comparison: Comparison) -> None:
    """Show one table for each metric. Each class has three lines, so that the table fits a narrow terminal."""
    console.print(f"A: {comparison.first}\nB: {comparison.second}", soft_wrap=True, markup=False)
    for metric in dict.fromkeys(row.pairs.metric for row in comparison.rows):
        table = Table(box=SIMPLE, title=f"{metric}: B − A over {len(comparison.cases)} cases", padding=0)
        # On a narrow terminal, wrap the class names and not the numbers.
        table.add_column("class", overflow="fold", min_width=8)
        for column in _columns(comparison.bootstrap.confidence):
            table.add_column(column, no_wrap=True)
        for row in comparison.rows:
            if row.pairs.metric == metric:
                table.add_row(*_cells(row), end_section=True)
        console.print(table)
    console.print(
        "p-values are two-sided; in brackets: corrected for the number of classes (Holm); median: Mood's median test; "
        "d: mean difference in units of its SD; r: rank-biserial correlation",
        markup=False,
    )


def _columns(confidence: float) -> tuple[str, ...]:
    interval = escape(f"[{100 * confidence:g} % interval]")
    tests = (f"{test}\n(Holm)" for test in ("Wilcoxon", "t test", "median"))
    return "A\nB", f"mean ± SD\nmedian\n{interval}", "better\nworse\nequal", *tests, "d\nr"


def _cells(row: ComparedClass) -> list[str]:
    found = row.statistics
    undefined = f"\n{row.pairs.left_out} undefined" if row.pairs.left_out else ""
    interval = escape(f"[{_signed(found.low)}, {_signed(found.high)}]")
    return [
        f"{escape(row.pairs.name)}\n{len(row.pairs.cases)} cases{undefined}",
        f"{_number(row.first_mean)}\n{_number(row.second_mean)}",
        f"{_signed(found.mean)} ± {_number(found.sd)}\n{_signed(found.median)}\n{interval}",
        f"{row.better}\n{row.worse}\n{row.equal}",
        f"{_p(found.wilcoxon)}\n{_bracketed(row.wilcoxon_holm)}",
        f"{_p(found.t_test)}\n{_bracketed(row.t_test_holm)}",
        f"{_p(found.median_test)}\n{_bracketed(row.median_test_holm)}",
        f"{_signed(found.effect_size, 2)}\n{_signed(found.rank_biserial, 2)}",
    ]


def _number(value: float, digits: int = 3) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def _signed(value: float, digits: int = 3) -> str:
    return "–" if math.isnan(value) else f"{value:+.{digits}f}"


def _p(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.3f}" if value >= SMALLEST_P else f"{value:.0e}"


def _bracketed(value: float) -> str:
    return "" if math.isnan(value) else f"({_p(value)})"
