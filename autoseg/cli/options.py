"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

DatasetFolder = Annotated[
    Path | None,
    typer.Argument(help="Folder with dataset.json, imagesTr and labelsTr (nnU-Net v1, v2 or Decathlon)."),
]
Images = Annotated[Path | None, typer.Option(help="Folder of images, instead of a dataset folder.")]
Labels = Annotated[Path | None, typer.Option(help="Folder of label maps; needs --images.")]
Unlabelled = Annotated[
    Path | None, typer.Option(help="Folder of images without label maps; needs --images and --labels.")
]
WorkspaceOption = Annotated[
    Path | None,
    typer.Option("--workspace", "-w", help="Folder for all results. Default: ./<dataset name>.autoseg."),
]
WorkspaceArgument = Annotated[Path, typer.Argument(help="Workspace that plan-and-preprocess created.")]
WorkspaceOrBundle = Annotated[
    Path,
    typer.Argument(metavar="WORKSPACE_OR_BUNDLE", help="Workspace, or bundle (the zip file or its extracted folder)."),
]
Configurations = Annotated[
    list[str] | None,
    typer.Option(
        "--configuration",
        "-c",
        help="Configuration: 2d, 3d_lowres, 3d_fullres, 3d_cascade_fullres, or an ensemble member such as 3d_unet_sum; "
        "may be given more than once. Default: all that suit the data.",
    ),
]
Planner = Annotated[
    str | None,
    typer.Option(
        help="Network family: unet, residual_unet; residual_unet_m, _l, _xl for 8, 24, 40 GB; mednext, vnet, "
        "convmixer and others; emma, an ensemble of several networks. An unknown name lists all. Default: unet."
    ),
]
Members = Annotated[
    str | None,
    typer.Option(
        help="Members of the EMMA ensemble to plan, separated by commas: networks, normalizations, or "
        "network/normalization, such as unet_sum,fcn. Implies --planner emma. Default: all."
    ),
]
VerifyMemory = Annotated[
    bool,
    typer.Option(
        "--verify-memory", help="Run one training step of each configuration and compare its memory with the plan."
    ),
]
Device = Annotated[str, typer.Option(help="Device: auto, cpu, cuda, cuda:1 or mps.")]
Memory = Annotated[
    str | None,
    typer.Option(
        help="Memory limit, such as 8GB, for a planned training step or for the cases predicted at the same time. "
        "Default: the free memory."
    ),
]
TimeBudget = Annotated[
    str | None,
    typer.Option(
        help="Time limit for a fold including its validation, such as 25m or 4h. Default: that of the plan (CPU: 8h)."
    ),
]
Speed = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Machine speed for planning with a time budget: a file that 'autoseg doctor --write-speed' wrote on "
        "another machine, or 'reference' (two cores with AVX2). Default: the speed of this machine, measured once.",
    ),
]
Trainer = Annotated[
    str | None,
    typer.Option(
        help="Way to learn: supervised, or random_forest (a forest instead of a network). An unknown name lists all. "
        "Default: supervised."
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(min=0, help="Number of worker processes; 0: no extra process. Default: one per core."),
]
Splits = Annotated[
    str,
    typer.Option(help="Division into folds: kfold (as nnU-Net), group or stratified. An existing splits.json is kept."),
]
Folds = Annotated[int, typer.Option(min=2, help="Number of folds.")]
Mirroring = Annotated[
    str,
    typer.Option(help="Average over mirrored images: mirror, none, or auto (as 'autoseg choose --tta' decided)."),
]
Edits = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Set a field of the plan, such as 3d_fullres.batch_size=4; may be given more than once."
    ),
]
Replan = Annotated[bool, typer.Option(help="Plan again even if a plan with the same options exists.")]


def planning_options(
    *, members: str | None, memory: str | None, time_budget: str | None, edits: list[str] | None, **others: Any
) -> dict[str, Any]:
    """Convert the options of a command to the fields of :class:`autoseg.api.PlanningOptions`."""
    from autoseg.system.units import parse_duration, parse_size

    return {
        "members": None if members is None else [name.strip() for name in members.split(",")],
        "memory": None if memory is None else parse_size(memory),
        "time_budget": None if time_budget is None else parse_duration(time_budget),
        "edits": edits or (),
        **others,
    }
