"""The command ``autoseg predict-folder``: predicts all cases of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autoseg.cli.display import case_progress, console
from autoseg.cli.options import Configurations, Device, Memory, Mirroring, WorkspaceOrBundle


def predict_folder(
    workspace: WorkspaceOrBundle,
    images: Annotated[
        Path,
        typer.Argument(
            help="Folder of images named as in training, or of DICOM series with one sub-folder per patient."
        ),
    ],
    output: Annotated[Path, typer.Argument(help="Folder for the label maps.")],
    configurations: Configurations = None,
    folds: Annotated[
        list[str] | None,
        typer.Option("--fold", "-f", help="Fold to use; may be given more than once. Default: all trained folds."),
    ] = None,
    device: Device = "auto",
    devices: Annotated[
        str | None,
        typer.Option(help="Several devices that share the cases, instead of --device: 0,1,2 for three GPUs."),
    ] = None,
    tta: Mirroring = "auto",
    best: Annotated[
        bool, typer.Option(help="Use the weights with the best validation Dice instead of the last weights.")
    ] = False,
    save_probabilities: Annotated[bool, typer.Option(help="Also write class probabilities.")] = False,
    uncertainty: Annotated[
        bool,
        typer.Option("--uncertainty", help="Also write uncertainty maps, and the expected Dice of each case."),
    ] = False,
    preview: Annotated[
        bool,
        typer.Option("--preview", help="Draw the predicted contours over the image of each case, in OUTPUT/previews."),
    ] = False,
    hypotheses: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Also write N plausible label maps of each case, in OUTPUT/hypotheses/1 to N. Needs networks of "
            "--planner probabilistic_unet, or an ensemble, where each network gives one map.",
        ),
    ] = None,
    postprocessing: Annotated[
        bool, typer.Option(help="Apply the post-processing that improved the label maps in cross-validation.")
    ] = True,
    label_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="Format of the label maps: nii.gz, nii, nrrd, mha, png, tif or dicom-seg. Default: as the images.",
        ),
    ] = None,
    series: Annotated[
        Path | None,
        typer.Option(
            help="For DICOM: JSON file with a pattern of the series description for each channel, such as "
            '{"CT": "*thorax*"}. Default: each channel is a sub-folder with its name.'
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Predict again cases that have a prediction.")] = False,
    memory: Memory = None,
) -> int:
    """Predict all cases of a folder. An interrupted prediction continues."""
    from autoseg.inference.folder import predict_folder as work
    from autoseg.system.devices import parse_devices
    from autoseg.system.units import parse_size

    with case_progress() as progress:
        result = work(
            workspace,
            images,
            output,
            configurations=configurations,
            folds=folds,
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
    counts = f"{len(result.done)} cases predicted, {len(result.skipped)} predicted before, {len(result.failed)} failed"
    console.print(f"{counts}: {output}", soft_wrap=True, markup=False)
    return 1 if result.failed else 0
