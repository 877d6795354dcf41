"""The command that measures predictions against references."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autoseg.cli.display import case_progress, console
from autoseg.cli.options import Workers
from autoseg.cli.tables import print_summary


def evaluate(
    predictions: Annotated[Path, typer.Argument(help="Folder of predicted label maps.")],
    reference: Annotated[Path, typer.Argument(help="Folder of reference label maps of the same names.")],
    dataset: Annotated[
        Path | None,
        typer.Option(help="dataset.json that names the classes. By default every value that is found."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for summary.json and summary.csv. By default PREDICTIONS."),
    ] = None,
    workers: Workers = None,
) -> None:
    """Measure Dice, IoU, precision, recall, HD95, ASSD and volume difference, per case and class."""
    from autoseg.evaluation.folder import evaluate_folder
    from autoseg.execution import default_workers

    with case_progress() as progress:
        summary = evaluate_folder(
            predictions,
            reference,
            dataset=dataset,
            workers=default_workers() if workers is None else workers,
            progress=progress,
        )
    target = output or predictions
    summary.write_json(target / "summary.json")
    summary.write_csv(target / "summary.csv")
    print_summary(summary)
    console.print(f"written: {target / 'summary.json'} and summary.csv", soft_wrap=True, markup=False)
