"""The command that trains a fold."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from autoseg.cli.display import console, duration, log_file, notices
from autoseg.cli.options import Device, TimeBudget, Trainer, Workers, WorkspaceArgument
from autoseg.cli.tables import print_summary
from autoseg.errors import PlanError

if TYPE_CHECKING:
    from autoseg.trainers.monitor import Listener, Report

INTERRUPTED = 130
SECONDS_BETWEEN_LINES = 30.0
"""In a log, where nothing can be drawn over."""


def train_fold(
    workspace: WorkspaceArgument,
    configuration: Annotated[str, typer.Argument(help="A configuration of the plan, such as 3d_fullres.")],
    fold: Annotated[str, typer.Argument(help="0 to 4, or all.")],
    trainer: Trainer = "supervised",
    device: Device = "auto",
    iterations: Annotated[
        int | None,
        typer.Option(min=1, help="Number of steps, or of trees of a forest. By default the plan's, or 50."),
    ] = None,
    time_budget: TimeBudget = None,
    workers: Workers = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides weights and samples.")] = 0,
    checkpoint_every: Annotated[str, typer.Option(help="Work that a killed process loses at most.")] = "2m",
    save_probabilities: Annotated[
        bool,
        typer.Option(help="Keep the probabilities of validation cases; without them 'autoseg choose' predicts again."),
    ] = True,
    restart: Annotated[
        bool, typer.Option("--restart/--resume", help="Begin anew, or go on where the fold was stopped.")
    ] = False,
) -> int:
    """Train one fold and validate it; goes on where it was stopped.

    A cascade, such as 3d_cascade_fullres, reads the label maps that every fold of its previous stage made of the cases
    that it held out: train all folds of 3d_lowres before it, as 'autoseg run' does.
    """
    from autoseg.api import train_fold as work
    from autoseg.preprocessing.previous_stage import find_previous_stage
    from autoseg.trainers.loop import Interrupted
    from autoseg.trainers.supervised import learning_modes
    from autoseg.units import parse_duration
    from autoseg.workspace import Workspace

    number = parse_fold(fold)
    place = Workspace(workspace)
    folder = place.fold(configuration, number, trainer)
    # Whatever is wrong so far is said before the log makes the folder of the fold.
    learning_modes.get(trainer)
    find_previous_stage(place, place.plan(), configuration, fold=number, trainer=trainer)
    with log_file(folder.log), training_progress() as listener:
        try:
            summary = work(
                workspace,
                configuration,
                number,
                listener=listener,
                trainer=trainer,
                device=device,
                iterations=iterations,
                time_budget=None if time_budget is None else parse_duration(time_budget),
                workers=workers,
                seed=seed,
                restart=restart,
                save_probabilities=save_probabilities,
                checkpoint_seconds=parse_duration(checkpoint_every),
            )
        except Interrupted:
            notices.print("stopped, and saved; the same command goes on from here")
            return INTERRUPTED
    print_summary(summary)
    console.print(f"weights and curves: {folder.root}", soft_wrap=True, markup=False)
    return 0


def parse_fold(fold: str) -> int | str:
    """Read a fold's number, or ``all``."""
    if fold == "all":
        return fold
    if not fold.isdecimal():
        raise PlanError(f"fold '{fold}': expected a number from 0, or all")
    return int(fold)


@contextmanager
def training_progress() -> Iterator[Listener]:
    """Yield what shows a training's reports: a bar on a terminal, a line now and then in a log."""
    if not sys.stderr.isatty():
        yield _logging_listener()
        return
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (BarColumn(), TextColumn("{task.completed}/{task.total}"), TextColumn("{task.description}"))
    with Progress(*columns, console=notices, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda report: bar.update(task, completed=report.step, total=report.total, description=_describe(report))


def _logging_listener() -> Listener:
    last = time.monotonic()

    def listen(report: Report) -> None:
        nonlocal last
        if time.monotonic() - last >= SECONDS_BETWEEN_LINES or report.step == report.total:
            last = time.monotonic()
            notices.print(f"step {report.step}/{report.total} {_describe(report)}", markup=False)

    return listen


def _describe(report: Report) -> str:
    dice = "–" if report.validation_dice is None else f"{report.validation_dice:.3f}"
    return (
        f"loss {report.loss:.3f}  validation Dice {dice}  {report.iterations_per_second:.1f} it/s  "
        f"{duration(report.seconds_left)} left"
    )
