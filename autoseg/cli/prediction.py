"""The command that predicts a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autoseg.cli.display import case_progress, console
from autoseg.cli.options import Configurations, Device, Mirroring, WorkspaceOrBundle


def predict_folder(
    workspace: WorkspaceOrBundle,
    images: Annotated[
        Path, typer.Argument(help="Folder of images, named as in training, or of DICOM series, a sub-folder a patient.")
    ],
    output: Annotated[Path, typer.Argument(help="Folder for the label maps.")],
    configurations: Configurations = None,
    folds: Annotated[
        list[str] | None,
        typer.Option("--fold", "-f", help="Fold to use; may be given more than once. By default all that are trained."),
    ] = None,
    trainer: Annotated[
        str | None,
        typer.Option(help="Whose weights. By default what was chosen."),
    ] = None,
    device: Device = "auto",
    devices: Annotated[
        str | None, typer.Option(help="Several that share the cases, in place of --device: 0,1,2 for three GPUs.")
    ] = None,
    tta: Mirroring = "auto",
    best: Annotated[bool, typer.Option(help="Weights with the best validation Dice instead of the last.")] = False,
    save_probabilities: Annotated[bool, typer.Option(help="Write class probabilities as well.")] = False,
    uncertainty: Annotated[
        bool,
        typer.Option("--uncertainty", help="Write maps of uncertainty, and the Dice that is expected of each case."),
    ] = False,
    preview: Annotated[
        bool, typer.Option("--preview", help="Draw each case's contours over its image, in OUTPUT/previews.")
    ] = False,
    hypotheses: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Write N plausible label maps of each case as well, in OUTPUT/hypotheses/1 to N: of networks of "
            "--planner probabilistic_unet, or one of each network of an ensemble.",
        ),
    ] = None,
    postprocessing: Annotated[
        bool, typer.Option(help="Do to label maps what cross-validation found to improve them.")
    ] = True,
    label_format: Annotated[
        str | None,
        typer.Option(
            "--format", help="Of the label maps: nii.gz, nii, nrrd, mha, png, tif or dicom-seg. By default the images'."
        ),
    ] = None,
    series: Annotated[
        Path | None,
        typer.Option(
            help='For DICOM: JSON file of channels and patterns of series descriptions, such as {"CT": "*thorax*"}. By '
            "default channels are sub-folders of their names."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Predict again what is there already.")] = False,
    memory: Annotated[
        str | None,
        typer.Option(help="For the cases in flight, such as 8GB. By default most of what is free."),
    ] = None,
) -> int:
    """Predict all cases of a folder; goes on where it was stopped."""
    from autoseg.inference.devices import parse_devices
    from autoseg.inference.folder import predict_folder as work
    from autoseg.units import parse_size

    with case_progress() as progress:
        result = work(
            workspace,
            images,
            output,
            configurations=configurations,
            folds=folds,
            trainer=trainer,
            device=device,
            devices=parse_devices(devices),
            tta=tta,  # type: ignore[arg-type]
            best=best,
            save_probabilities=save_probabilities,
            uncertainty=uncertainty,
            preview=preview,
            hypotheses=hypotheses or 0,
            postprocessing=postprocessing,
            label_format=label_format,
            series=series,
            overwrite=overwrite,
            memory=parse_size(memory) if memory else None,
            progress=progress,
        )
    counts = (
        f"{len(result.done)} cases predicted, {len(result.skipped)} were there already, {len(result.failed)} failed"
    )
    console.print(f"{counts}: {output}", soft_wrap=True, markup=False)
    return 1 if result.failed else 0
