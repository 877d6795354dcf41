"""The command ``autoseg plan-and-preprocess``, and its three steps as separate commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autoseg.cli.display import case_progress, console
from autoseg.cli.options import (
    Configurations,
    DatasetFolder,
    Device,
    Edits,
    Folds,
    Images,
    Labels,
    Members,
    Memory,
    Planner,
    Replan,
    Speed,
    Splits,
    TimeBudget,
    Trainer,
    Unlabelled,
    VerifyMemory,
    Workers,
    WorkspaceArgument,
    WorkspaceOption,
    planning_options,
)

if TYPE_CHECKING:
    from autoseg.data.dataset import Dataset
    from autoseg.plan.schema import Plan


def plan_and_preprocess(
    dataset: DatasetFolder = None,
    images: Images = None,
    labels: Labels = None,
    unlabelled: Unlabelled = None,
    workspace: WorkspaceOption = None,
    configurations: Configurations = None,
    planner: Planner = None,
    trainer: Trainer = None,
    members: Members = None,
    device: Device = "auto",
    memory: Memory = None,
    time_budget: TimeBudget = None,
    speed: Speed = None,
    workers: Workers = None,
    splits: Splits = "kfold",
    folds: Folds = 5,
    replan: Replan = False,
    edits: Edits = None,
    verify_memory: VerifyMemory = False,
) -> None:
    """Check a dataset, measure its fingerprint, plan the configurations, and preprocess the cases."""
    from autoseg.api import plan_and_preprocess as work

    with case_progress() as progress:
        place = work(
            dataset,
            images=images,
            labels=labels,
            unlabelled=unlabelled,
            workspace=workspace,
            **planning_options(
                configurations=configurations,
                planner=planner,
                trainer=trainer,
                members=members,
                device=device,
                memory=memory,
                time_budget=time_budget,
                speed=speed,
                edits=edits,
            ),
            workers=workers,
            splits=splits,
            folds=folds,
            replan=replan,
            progress=progress,
        )
    if verify_memory:
        _print_verification(place.plan(), place.dataset(), device)
    names = list(place.plan().configurations)
    console.print(f"ready: {place.root}; next: autoseg train-fold {place.root} {names[-1]} 0", soft_wrap=True)


def fingerprint(
    dataset: DatasetFolder = None,
    images: Images = None,
    labels: Labels = None,
    unlabelled: Unlabelled = None,
    workspace: WorkspaceOption = None,
    workers: Workers = None,
) -> None:
    """Measure the fingerprint of a dataset (the first step of plan-and-preprocess)."""
    from autoseg.api import fingerprint_dataset, open_dataset
    from autoseg.system.execution import local_executor
    from autoseg.workspace.paths import Workspace

    found = open_dataset(dataset, images, labels, unlabelled)
    place = Workspace(workspace or Path(f"{found.name}.autoseg"))
    with case_progress() as progress:
        fingerprint_dataset(found, place, executor=local_executor(workers), progress=progress)
    console.print(f"written: {place.fingerprint_file}", soft_wrap=True)


def plan(
    workspace: WorkspaceArgument,
    configurations: Configurations = None,
    planner: Planner = None,
    trainer: Trainer = None,
    members: Members = None,
    device: Device = "auto",
    memory: Memory = None,
    time_budget: TimeBudget = None,
    speed: Speed = None,
    splits: Splits = "kfold",
    folds: Folds = 5,
    replan: Replan = False,
    edits: Edits = None,
    explain: Annotated[bool, typer.Option(help="Show the values behind each decision.")] = False,
    verify_memory: VerifyMemory = False,
) -> None:
    """Plan from the fingerprint, or show or change the existing plan (the second step of plan-and-preprocess)."""
    from autoseg.api import PlanningOptions, plan_dataset
    from autoseg.workspace.dividing import divide_cases
    from autoseg.workspace.paths import Workspace

    place = Workspace(workspace)
    dataset, measured = place.dataset(), place.fingerprint()
    divide_cases(dataset, measured, place, kind=splits, folds=folds)
    options = planning_options(
        configurations=configurations,
        planner=planner,
        trainer=trainer,
        members=members,
        device=device,
        memory=memory,
        time_budget=time_budget,
        speed=speed,
        edits=edits,
    )
    made = plan_dataset(dataset, measured, place, PlanningOptions(**options), replan=replan)
    for decision in made.explanation:
        console.print(f"{decision.about}: {decision.decision}", markup=False, soft_wrap=True)
        for reason in decision.reasons if explain else ():
            console.print(f"    {reason}", markup=False, soft_wrap=True)
    if verify_memory:
        _print_verification(made, dataset, device)
    console.print(f"plan: {place.plan_file}", soft_wrap=True)


def preprocess(workspace: WorkspaceArgument, workers: Workers = None) -> None:
    """Preprocess the cases that the plan needs and that do not exist yet (the last step of plan-and-preprocess)."""
    from autoseg.preprocessing.run import preprocess as work
    from autoseg.system.execution import local_executor
    from autoseg.workspace.paths import Workspace

    place = Workspace(workspace)
    with case_progress() as progress:
        count = work(
            place,
            place.plan(),
            executor=local_executor(workers),
            progress=progress("preprocessing", len(place.dataset().cases)),
        )
    console.print(f"{count} cases preprocessed; the other cases were up to date")


def _print_verification(made: Plan, dataset: Dataset, device: str) -> None:
    """Run one training step of each configuration, and print the planned and the measured memory."""
    from autoseg.learning.costs.verification import verify_memory
    from autoseg.system.devices import choose_device
    from autoseg.system.memory import format_bytes

    chosen = choose_device(made.request.get("device", "auto") if device == "auto" else device)
    for name, configuration in made.configurations.items():
        found = verify_memory(configuration, dataset, device=chosen)
        console.print(
            f"{name}: planned {format_bytes(found.planned_bytes)}, measured {format_bytes(found.measured_bytes)} on "
            f"{chosen} ({found.excess:+.0%})",
            soft_wrap=True,
        )
