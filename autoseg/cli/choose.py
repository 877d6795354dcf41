"""The command ``autoseg choose``: chooses the configurations and the settings for prediction."""

from __future__ import annotations

from typing import Annotated

import typer

from autoseg.cli.display import case_progress, console
from autoseg.cli.options import Device, WorkspaceArgument


def choose(
    workspace: WorkspaceArgument,
    device: Device = "auto",
    tta: Annotated[
        bool,
        typer.Option(
            "--tta",
            help="Also predict the held-out cases without mirroring, and choose whether mirroring is worth its time.",
        ),
    ] = False,
    dice_margin: Annotated[
        float | None,
        typer.Option(
            help="Average all configurations whose mean Dice is at most this much below the best mean Dice. Default: "
            "the margin of the plan (EMMA: 0.03). Without a margin, choose the best of: each configuration, each pair, "
            "all together."
        ),
    ] = None,
    predict: Annotated[
        bool,
        typer.Option(
            help="Predict held-out cases that have no saved probabilities; with --no-predict, stop with an error."
        ),
    ] = True,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0, help="Number of worker processes; 0: no extra process. Default: one per core where this is faster."
        ),
    ] = None,
) -> None:
    """Compare configurations and ensembles by cross-validation; choose the best, its decoder and post-processing.

    Writes ensemble.json, which predict-folder reads, and cross_validation.json, which contains all compared results.
    """
    from autoseg.choice import choose as work
    from autoseg.cli.choice_table import print_choice

    with case_progress() as progress:
        found = work(
            workspace,
            device=device,
            tta=tta,
            dice_margin=dice_margin,
            predict=predict,
            workers=workers,
            progress=progress,
        )
    print_choice(found)
    console.print(
        f"written: {workspace / 'ensemble.json'} and cross_validation.json",
        soft_wrap=True,
        markup=False,
    )
