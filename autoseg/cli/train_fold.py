"""The command ``autoseg train-fold``: trains one fold."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from autoseg.cli.display import console, duration, log_file, notices
from autoseg.cli.options import Device, TimeBudget, Workers, WorkspaceArgument
from autoseg.cli.tables import print_summary
from autoseg.errors import PlanError

if TYPE_CHECKING:
    from autoseg.learning.monitor import Listener, Report

INTERRUPTED = 130
SECONDS_BETWEEN_LINES = 30.0
"""Interval of progress lines in a log, where a progress bar cannot be drawn."""


def train_fold(
    workspace: WorkspaceArgument,
    configuration: Annotated[str, typer.Argument(help="Configuration of the plan, such as 3d_fullres.")],
    fold: Annotated[str, typer.Argument(help="Fold: 0 to 4, or all.")],
    device: Device = "auto",
    iterations: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of training steps, or of trees of a forest. Default: that of the plan, or 50 trees."
        ),
    ] = None,
    time_budget: TimeBudget = None,
    workers: Workers = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the initial weights and of sampling.")] = 0,
    checkpoint_every: Annotated[str, typer.Option(help="Interval between checkpoints, such as 2m.")] = "2m",
    save_probabilities: Annotated[
        bool,
        typer.Option(
            help="Save the probabilities of validation cases; without them 'autoseg choose' predicts these cases again."
        ),
    ] = True,
    restart: Annotated[
        bool, typer.Option("--restart/--resume", help="Start the fold again from the beginning, or continue it.")
    ] = False,
) -> int:
    """Train one fold and validate it. An interrupted training continues.

    A cascade, such as 3d_cascade_fullres, needs the label maps that the folds of its previous stage predict for their
    held-out cases. Train all folds of 3d_lowres first, as 'autoseg run' does.
    """
    from autoseg.api import train_fold as work
    from autoseg.learning.loop import Interrupted
    from autoseg.learning.trainer import build_trainer
    from autoseg.preprocessing.previous_stage import find_previous_stage
    from autoseg.system.units import parse_duration
    from autoseg.workspace.paths import Workspace

    number = parse_fold(fold)
    place = Workspace(workspace)
    plan = place.plan()
    # Raise errors in the arguments before the log file creates the folder of the fold.
    build_trainer(plan.configuration(configuration))
    find_previous_stage(place, plan, configuration, fold=number)
    folder = place.fold(configuration, number, plan)
    with log_file(folder.log), training_progress() as listener:
        try:
            summary = work(
                workspace,
                configuration,
                number,
                listener=listener,
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
            notices.print("stopped and saved; run the same command again to continue")
            return INTERRUPTED
    print_summary(summary)
    console.print(f"weights and curves: {folder.root}", soft_wrap=True, markup=False)
    return 0


def parse_fold(fold: str) -> int | str:
    """Return the number of a fold, or ``all``; raise :class:`PlanError` for other text."""
    if fold == "all":
        return fold
    if not fold.isdecimal():
        raise PlanError(f"fold '{fold}': expected a number from 0, or all")
    return int(fold)


@contextmanager
def training_progress() -> Iterator[Listener]:
    """Yield a listener that shows training progress: a bar on a terminal, a line every 30 s in a log."""
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
