"""The command ``autoseg evaluate``: compares predictions with references."""

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
    reference: Annotated[Path, typer.Argument(help="Folder of reference label maps with the same file names.")],
    dataset: Annotated[
        Path | None,
        typer.Option(help="dataset.json with the classes. Default: one class for each value in the references."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for summary.json and summary.csv. Default: PREDICTIONS."),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(help="Tolerance in mm of the normalized surface distance (NSD).")
    ] = TOLERANCE,
    empty: Annotated[
        str,
        typer.Option(
            help="Scores of a class that is absent in the reference. nan: undefined if the prediction lacks it too, "
            "otherwise the value of the formula, Dice 0 (nnU-Net, Metrics Reloaded); omit: always undefined; one: 1 if "
            "the prediction lacks it too, otherwise 0 (BraTS 2017); zero: always 0 (BraTS 2015)."
        ),
    ] = "nan",
    ignore: Annotated[
        list[int] | None,
        typer.Option(help="Reference value whose voxels are excluded from all metrics; may be given more than once."),
    ] = None,
    per_slice: Annotated[
        bool,
        typer.Option(
            "--per-slice", help="Also write the Dice of each slice along the third axis of the files to slices.csv."
        ),
    ] = False,
    workers: Workers = None,
) -> None:
    """Measure overlap, surface distances and volumes, per case and class, and pooled over the voxels of all cases."""
    from autoseg.evaluation.folder import evaluate_folder
    from autoseg.system.execution import local_executor

    target = output or predictions
    with case_progress() as progress:
        summary = evaluate_folder(
            predictions,
            reference,
            dataset=dataset,
            ignore=ignore or (),
            settings=MetricSettings(tolerance, empty),
            slices_file=target / "slices.csv" if per_slice else None,
            executor=local_executor(workers),
            progress=progress,
        )
    summary.write_json(target / "summary.json")
    summary.write_csv(target / "summary.csv")
    print_summary(summary)
    written = ", summary.csv and slices.csv" if per_slice else " and summary.csv"
    console.print(f"written: {target / 'summary.json'}{written}", soft_wrap=True, markup=False)
