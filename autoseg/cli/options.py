"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

DatasetFolder = Annotated[
    Optional[Path],  # noqa: UP007, UP045 - typer reads the annotation at run time on Python 3.10
    typer.Argument(help="Folder with dataset.json, imagesTr and labelsTr (nnU-Net v1, v2 or Decathlon)."),
]
Images = Annotated[Optional[Path], typer.Option(help="Folder of images, instead of a dataset folder.")]  # noqa: UP007, UP045
Labels = Annotated[Optional[Path], typer.Option(help="Folder of label maps, with --images.")]  # noqa: UP007, UP045
WorkspaceOption = Annotated[
    Optional[Path],  # noqa: UP007, UP045
    typer.Option("--workspace", "-w", help="Folder for all that is made. [default: ./<dataset name>.autoseg]"),
]
WorkspaceArgument = Annotated[Path, typer.Argument(help="Workspace that plan-and-preprocess made.")]
Configurations = Annotated[
    Optional[list[str]],  # noqa: UP007, UP045
    typer.Option("--configuration", "-c", help="2d or 3d_fullres; may be given more than once. [default: all]"),
]
Planner = Annotated[str, typer.Option(help="Network family: unet or residual_unet.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Memory = Annotated[
    Optional[str],  # noqa: UP007, UP045
    typer.Option("--memory", "--gpu-memory", help="Memory for a training step, such as 8GB. [default: what is free]"),
]
TimeBudget = Annotated[
    Optional[str],  # noqa: UP007, UP045
    typer.Option(help="Time for one fold, validation included, such as 25m or 4h. [default: 8h on a CPU, none on a GPU]"),
]
Workers = Annotated[
    Optional[int],  # noqa: UP007, UP045
    typer.Option(min=0, help="Processes; 0 does everything in this one. [default: one a core]"),
]
Splits = Annotated[str, typer.Option(help="How cases fall into folds: kfold (nnU-Net's), group or stratified.")]
Folds = Annotated[int, typer.Option(min=2, help="Number of folds.")]
Mirroring = Annotated[str, typer.Option(help="Average over mirrored copies: auto, mirror or none.")]
