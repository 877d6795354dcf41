"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DatasetFolder = Annotated[
    Path | None,
    typer.Argument(help="Folder with dataset.json, imagesTr and labelsTr (nnU-Net v1, v2 or Decathlon)."),
]
Images = Annotated[Path | None, typer.Option(help="Folder of images, instead of a dataset folder.")]
Labels = Annotated[Path | None, typer.Option(help="Folder of label maps, with --images.")]
WorkspaceOption = Annotated[
    Path | None,
    typer.Option("--workspace", "-w", help="Folder for all that is made. By default ./<dataset name>.autoseg."),
]
WorkspaceArgument = Annotated[Path, typer.Argument(help="Workspace that plan-and-preprocess made.")]
WorkspaceOrBundle = Annotated[
    Path, typer.Argument(metavar="WORKSPACE_OR_BUNDLE", help="Workspace, or a bundle: the zip or its folder.")
]
Configurations = Annotated[
    list[str] | None,
    typer.Option(
        "--configuration",
        "-c",
        help="2d, 3d_lowres, 3d_fullres or 3d_cascade_fullres, or a member of an ensemble, such as 3d_unet_sum; may be "
        "given more than once. By default all that suit.",
    ),
]
Planner = Annotated[
    str | None,
    typer.Option(
        help="Network family: unet, residual_unet, or residual_unet_m, _l, _xl for 8, 24, 40 GB; mednext, vnet, "
        "convmixer and others; emma, an ensemble of several: a name that is none of them lists all. By default unet."
    ),
]
Members = Annotated[
    str | None,
    typer.Option(
        help="Which of EMMA's members to plan: networks, normalizations, or network/normalization, with commas between "
        "them, such as unet_sum,fcn. Means --planner emma. By default all."
    ),
]
VerifyMemory = Annotated[
    bool,
    typer.Option("--verify-memory", help="Make a real training step of each configuration and compare its memory."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Memory = Annotated[
    str | None,
    typer.Option("--memory", "--gpu-memory", help="Memory for a training step, such as 8GB. By default what is free."),
]
TimeBudget = Annotated[
    str | None,
    typer.Option(
        help="Time for a fold with its validation, such as 25m or 4h. By default the plan's, which is 8h on a CPU."
    ),
]
Speed = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Speed to plan a time budget for: a file that 'autoseg doctor --write-speed' wrote on another machine, or "
        "'reference', two cores with AVX2. By default this machine's, measured once.",
    ),
]
Trainer = Annotated[
    str, typer.Option(help="How to learn: supervised trains the plan's network; random_forest a forest in its place.")
]
Workers = Annotated[
    int | None,
    typer.Option(min=0, help="Processes; 0 does everything in this one. By default one a core."),
]
Splits = Annotated[
    str, typer.Option(help="How cases fall into folds: kfold (nnU-Net's), group or stratified; a splits.json stays.")
]
Folds = Annotated[int, typer.Option(min=2, help="Number of folds.")]
Mirroring = Annotated[
    str,
    typer.Option(help="Average over mirrored copies: mirror, none, or auto: as 'autoseg choose --tta' found worth it."),
]
