"""The command that chooses what predicts."""

from __future__ import annotations

from typing import Annotated

import typer

from autoseg.cli.display import case_progress, console
from autoseg.cli.options import Device, WorkspaceArgument


def choose(
    workspace: WorkspaceArgument,
    trainer: Annotated[str, typer.Option(help="Whose folds are compared.")] = "supervised",
    device: Device = "auto",
    tta: Annotated[
        bool,
        typer.Option(
            "--tta", help="Predict the held-out cases without mirrored copies as well, to see if these are worth it."
        ),
    ] = False,
    admission: Annotated[
        float | None,
        typer.Option(
            help="Average all configurations whose mean Dice is at most this much below that of the best one. By "
            "default the plan's: 0.03 for EMMA's; else the best single one, pair or all together is taken."
        ),
    ] = None,
    predict: Annotated[
        bool, typer.Option(help="Predict held-out cases whose probabilities are not there; else that is an error.")
    ] = True,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes; 0 does everything in this one. By default one a core where that pays."),
    ] = None,
) -> None:
    """Compare configurations and their ensembles by cross-validation; choose, with decoder and post-processing.

    Writes ensemble.json and postprocessing.json, which predict-folder follows, and cross_validation.json.
    """
    from autoseg.choice import choose as work
    from autoseg.cli.choice_table import print_choice

    with case_progress() as progress:
        found = work(
            workspace,
            trainer,
            device=device,
            tta=tta,
            admission=admission,
            predict=predict,
            workers=workers,
            progress=progress,
        )
    print_choice(found)
    console.print(
        f"written: {workspace / 'ensemble.json'}, postprocessing.json and cross_validation.json",
        soft_wrap=True,
        markup=False,
    )
