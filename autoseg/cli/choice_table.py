"""The results of cross-validation as tables on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from autoseg.choice.record import CrossValidation, Result
from autoseg.choice.wording import decisions, figure, interval, shown_by_class, spread
from autoseg.cli.display import console


def print_choice(found: CrossValidation) -> None:
    """Show the Dice of configurations and ensembles, the Dice of each class, and all decisions with their reasons."""
    console.print(_comparison(found))
    console.print(_classes(found))
    for about, said in decisions(found).items():
        console.print(f"{about}: {said}", markup=False)


def _comparison(found: CrossValidation) -> Table:
    single = found.best_single.configurations
    alone = len(found.results) == 1
    columns = ("Dice",) if alone else ("Dice", f"− {escape(single[0])} \\[95 % interval]")
    table = _table("mean Dice", "configuration", columns)
    for result in found.results:
        difference = () if alone else (_difference(result, single),)
        style = "bold" if result.configurations == found.chosen else ""
        table.add_row(escape(result.name), figure(result.dice, 4), *difference, style=style)
    return table


def _difference(result: Result, single: tuple[str, ...]) -> str:
    return "" if result.configurations == single else escape(interval(result.difference))


def _classes(found: CrossValidation) -> Table:
    """Show the single configurations (only the best one if there are many) beside the chosen ensemble."""
    shown = shown_by_class(found)
    table = _table("Dice of each class, mean ± SD", "class", [escape(result.name) for result in shown])
    for name in found.results[0].classes:
        table.add_row(escape(name), *(spread(result.classes[name]) for result in shown))
    return table


def _table(title: str, first: str, columns: Sequence[str]) -> Table:
    table = Table(box=SIMPLE, title=title, padding=(0, 1))
    # On a narrow terminal, wrap the names and not the numbers.
    table.add_column(first, overflow="fold", min_width=8)
    for column in columns:
        table.add_column(column, overflow="fold", min_width=13 if "±" in title else None)
    return table
