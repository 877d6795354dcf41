"""The command that measures predictions against references."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autoseg.cli.display import case_progress, console
from autoseg.cli.options import Workers
from autoseg.cli.tables import print_summary
from autoseg.evaluation.settings import TOLERANCE, MetricSettings


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
    tolerance: Annotated[
        float, typer.Option(help="Distance in mm up to which surfaces agree, for the normalized surface distance.")
    ] = TOLERANCE,
    empty: Annotated[
        str,
        typer.Option(
            help="Scores of a class that a reference lacks. nan: not defined where the prediction lacks it too, else "
            "what the formula gives, Dice 0 (nnU-Net, Metrics Reloaded); omit: not defined in any case; one: 1 where "
            "the prediction lacks it too, else 0 (BraTS 2017); zero: 0 in any case (BraTS 2015)."
        ),
    ] = "nan",
    ignore: Annotated[
        list[int] | None,
        typer.Option(help="Value of the references whose voxels count nowhere; may be given more than once."),
    ] = None,
    per_slice: Annotated[
        bool, typer.Option("--per-slice", help="Dice of each slice along the files' third axis too, in slices.csv.")
    ] = False,
    workers: Workers = None,
) -> None:
    """Measure overlap, surface distances and volumes, per case and class, and over all voxels together."""
    from autoseg.evaluation.folder import evaluate_folder
    from autoseg.execution import default_workers

    target = output or predictions
    with case_progress() as progress:
        summary = evaluate_folder(
            predictions,
            reference,
            dataset=dataset,
            ignore=ignore or (),
            settings=MetricSettings(tolerance, empty),
            slices_file=target / "slices.csv" if per_slice else None,
            workers=default_workers() if workers is None else workers,
            progress=progress,
        )
    summary.write_json(target / "summary.json")
    summary.write_csv(target / "summary.csv")
    print_summary(summary)
    written = ", summary.csv and slices.csv" if per_slice else " and summary.csv"
    console.print(f"written: {target / 'summary.json'}{written}", soft_wrap=True, markup=False)
