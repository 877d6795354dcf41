"""What cross-validation found, on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from autoseg.choice.admission import Admission
from autoseg.choice.dice import Difference
from autoseg.choice.record import ClassDice, CrossValidation, MirroringResult, Result
from autoseg.cli.display import console
from autoseg.plan import Component
from autoseg.postprocessing.record import PostProcessing

MOST_SIDE_BY_SIDE = 4
"""Configurations whose classes a terminal has room for: nnU-Net's."""


def print_choice(found: CrossValidation) -> None:
    """Show Dice of configurations and ensembles, of each class, and what else was chosen and why."""
    folds = ", ".join(map(str, found.folds))
    plural = "fold" if len(found.folds) == 1 else "folds"
    console.print(f"cross-validation: {found.cases} cases, held out by {plural} {folds}", markup=False)
    console.print(_comparison(found))
    console.print(_classes(found))
    _print_admission(found.admission)
    console.print(f"chosen: {' + '.join(found.chosen)}", markup=False)
    console.print(f"mirrored copies: {_mirroring(found.mirroring)}", markup=False)
    decoder = "kept" if found.decoder.kept else "not kept: the interval is not above 0"
    console.print(f"Dice-optimal decoding: {_interval(found.decoder.gain)}, {decoder}", markup=False)
    _print_postprocessing(found.postprocessing)
    console.print(f"mean Dice of all this together: {_number(found.dice, 4)}", markup=False)
    error = found.calibration.expected_error
    if error is not None:
        console.print(f"probabilities are off by {error:.3f} on average (see the report's plot)", markup=False)


def _comparison(found: CrossValidation) -> Table:
    single = found.best_single.configurations
    alone = len(found.results) == 1
    columns = ("Dice",) if alone else ("Dice", f"− {escape(single[0])} \\[95 % interval]")
    table = _table("mean Dice", "configuration", columns)
    for result in found.results:
        difference = () if alone else (_difference(result, single),)
        name = escape(result.name)
        style = "bold" if result.configurations == found.chosen else ""
        table.add_row(name, _number(result.dice, 4), *difference, style=style)
    return table


def _difference(result: Result, single: tuple[str, ...]) -> str:
    return "" if result.configurations == single else escape(_interval(result.difference))


def _classes(found: CrossValidation) -> Table:
    """Show the single configurations, of many the best one, and what was chosen, side by side."""
    single = [result for result in found.results if len(result.configurations) == 1]
    shown = [*(single if len(single) <= MOST_SIDE_BY_SIDE else [found.best_single])]
    shown += [found.best] if found.best not in shown else []
    table = _table("Dice of each class, mean ± SD", "class", [escape(result.name) for result in shown])
    for name in found.results[0].classes:
        table.add_row(escape(name), *(_spread(result.classes[name]) for result in shown))
    return table


def _table(title: str, first: str, columns: Sequence[str]) -> Table:
    table = Table(box=SIMPLE, title=title, padding=(0, 1))
    # Too narrow a terminal breaks names, not numbers.
    table.add_column(first, overflow="fold", min_width=8)
    for column in columns:
        table.add_column(column, overflow="fold", min_width=13 if "±" in title else None)
    return table


def _print_admission(found: Admission | None) -> None:
    if found is None:
        return
    count = len(found.admitted) + len(found.left_out)
    console.print(f"admitted: {len(found.admitted)} of {count}, within {found.within:g} of the best", markup=False)
    for name, reason in found.left_out.items():
        console.print(f"  left out: {name}: {reason}", markup=False, soft_wrap=True)


def _mirroring(found: MirroringResult | None) -> str:
    if found is None:
        return "averaged over; 'autoseg choose --tta' measures if that is worth its time"
    time = f"{found.seconds:.2g} s a case instead of {found.seconds_without:.2g} s"
    return f"{_interval(found.gain)}, {time}: {'averaged over' if found.kept else 'left out'}"


def _print_postprocessing(found: PostProcessing) -> None:
    if not found.steps or found.gain is None or found.expected_gain is None:
        console.print("post-processing: none, as none helps cases that had no say in choosing it", markup=False)
        return
    expected = f"{found.expected_gain:+.4f} expected of new cases"
    console.print(f"post-processing: {found.gain:+.4f} mean Dice on these cases, {expected}", markup=False)
    for step in found.steps:
        console.print(f"  {_describe(step)}", markup=False)
    gains = ", ".join(f"{name} {gain:+.4f}" for name, gain in found.gains.items())
    console.print(f"  gains: {gains}", markup=False)


def _describe(step: Component) -> str:
    """Say what a step of post-processing does."""
    of = step.get("of", "all foreground")
    known = {
        "largest_component": f"{of}: largest component only",
        "remove_small": f"{of}: without components below {step.get('mm3', 0):.3g} mm³",
        "fill_holes": f"{of}: holes filled",
    }
    return known.get(str(step["name"]), str(step))


def _interval(found: Difference) -> str:
    if found.mean is None:
        return "–"
    if found.low is None or found.high is None:
        return f"{found.mean:+.4f}"
    return f"{found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"


def _spread(found: ClassDice) -> str:
    return "–" if found.mean is None else f"{_number(found.mean)} ± {_number(found.sd)}"


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
