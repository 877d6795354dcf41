"""Commands that look at a dataset and decide what to do with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autoseg.cli.display import case_progress, console
from autoseg.cli.options import (
    Configurations,
    DatasetFolder,
    Device,
    Folds,
    Images,
    Labels,
    Members,
    Memory,
    Planner,
    Speed,
    Splits,
    TimeBudget,
    VerifyMemory,
    Workers,
    WorkspaceArgument,
    WorkspaceOption,
)

if TYPE_CHECKING:
    from autoseg.dataset import Dataset
    from autoseg.examination import Finding
    from autoseg.plan import Plan


def plan_and_preprocess(
    dataset: DatasetFolder = None,
    images: Images = None,
    labels: Labels = None,
    workspace: WorkspaceOption = None,
    configurations: Configurations = None,
    planner: Planner = None,
    members: Members = None,
    device: Device = "auto",
    memory: Memory = None,
    time_budget: TimeBudget = None,
    speed: Speed = None,
    workers: Workers = None,
    splits: Splits = "kfold",
    folds: Folds = 5,
    replan: Annotated[bool, typer.Option(help="Plan again even where there is a plan.")] = False,
    verify_memory: VerifyMemory = False,
) -> None:
    """Check a dataset, measure its fingerprint, plan, and preprocess it."""
    from autoseg.api import plan_and_preprocess as work

    with case_progress() as progress:
        place = work(
            dataset,
            images=images,
            labels=labels,
            workspace=workspace,
            configurations=configurations,
            planner=planner,
            members=split_names(members),
            device=device,
            memory=_size(memory),
            time_budget=_seconds(time_budget),
            speed=speed,
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


def check(dataset: DatasetFolder = None, images: Images = None, labels: Labels = None, workers: Workers = None) -> int:
    """Report every fault of a dataset in one table, and change nothing."""
    from autoseg.api import open_dataset
    from autoseg.execution import default_workers
    from autoseg.fingerprint import dataset_findings, examine_all

    found = open_dataset(dataset, images, labels)
    with case_progress() as progress:
        examinations = examine_all(
            found,
            workers=default_workers() if workers is None else workers,
            progress=progress("checking", len(found.cases)),
        )
    findings = dataset_findings(found, examinations)
    _print_findings(found, findings)
    _print_missing(found)
    return 2 if any(finding.severity == "error" for finding in findings) else 0


def fingerprint(
    dataset: DatasetFolder = None,
    images: Images = None,
    labels: Labels = None,
    workspace: WorkspaceOption = None,
    workers: Workers = None,
) -> None:
    """Measure what a dataset looks like: the first step of plan-and-preprocess alone."""
    from autoseg.api import fingerprint_dataset, open_dataset
    from autoseg.execution import default_workers
    from autoseg.workspace import Workspace

    found = open_dataset(dataset, images, labels)
    place = Workspace(workspace or Path(f"{found.name}.autoseg"))
    with case_progress() as progress:
        fingerprint_dataset(found, place, workers=default_workers() if workers is None else workers, progress=progress)
    console.print(f"written: {place.fingerprint_file}", soft_wrap=True)


def plan(
    workspace: WorkspaceArgument,
    configurations: Configurations = None,
    planner: Planner = None,
    members: Members = None,
    device: Device = "auto",
    memory: Memory = None,
    time_budget: TimeBudget = None,
    speed: Speed = None,
    splits: Splits = "kfold",
    folds: Folds = 5,
    replan: Annotated[bool, typer.Option(help="Plan again even where there is a plan for what is asked for.")] = False,
    edits: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a field, such as 3d_fullres.batch_size=4; may be given more than once."),
    ] = None,
    explain: Annotated[bool, typer.Option(help="Show the figures that led to each decision.")] = False,
    verify_memory: VerifyMemory = False,
) -> None:
    """Plan from the fingerprint, show or change the plan that is there: the second step of plan-and-preprocess."""
    from autoseg.api import divide_cases, plan_dataset
    from autoseg.workspace import Workspace

    place = Workspace(workspace)
    dataset, measured = place.dataset(), place.fingerprint()
    divide_cases(dataset, measured, place, kind=splits, folds=folds)
    made = plan_dataset(
        dataset,
        measured,
        place,
        configurations=configurations,
        planner=planner,
        members=split_names(members),
        device=device,
        memory=_size(memory),
        time_budget=_seconds(time_budget),
        speed=speed,
        replan=replan,
        edits=edits or (),
    )
    for decision in made.explanation:
        console.print(f"{decision.about}: {decision.decision}", markup=False, soft_wrap=True)
        for reason in decision.reasons if explain else ():
            console.print(f"    {reason}", markup=False, soft_wrap=True)
    if verify_memory:
        _print_verification(made, dataset, device)
    console.print(f"plan: {place.plan_file}", soft_wrap=True)


def preprocess(workspace: WorkspaceArgument, workers: Workers = None) -> None:
    """Preprocess what the plan needs and is not there yet: the last step of plan-and-preprocess alone."""
    from autoseg.execution import default_workers
    from autoseg.preprocessing.run import preprocess as work
    from autoseg.workspace import Workspace

    place = Workspace(workspace)
    with case_progress() as progress:
        count = work(
            place,
            place.plan(),
            workers=default_workers() if workers is None else workers,
            progress=progress("preprocessing", len(place.dataset().cases)),
        )
    console.print(f"{count} cases preprocessed, the others were there already")


def _print_verification(made: Plan, dataset: Dataset, device: str) -> None:
    """Make a real step of each configuration, and print planned against measured memory."""
    from autoseg.memory import format_bytes
    from autoseg.planners.resources import choose_device
    from autoseg.planners.verification import verify_memory

    chosen = choose_device(made.request.get("device", "auto") if device == "auto" else device)
    for name, configuration in made.configurations.items():
        found = verify_memory(configuration, dataset, device=chosen)
        console.print(
            f"{name}: planned {format_bytes(found.planned_bytes)}, measured {format_bytes(found.measured_bytes)} on "
            f"{chosen} ({found.excess:+.0%})",
            soft_wrap=True,
        )


def split_names(text: str | None) -> list[str] | None:
    """Read names with commas between them."""
    return None if text is None else [name.strip() for name in text.split(",")]


def _size(text: str | None) -> int | None:
    from autoseg.units import parse_size

    return None if text is None else parse_size(text)


def _seconds(text: str | None) -> float | None:
    from autoseg.units import parse_duration

    return None if text is None else parse_duration(text)


def _print_missing(dataset: Dataset) -> None:
    from autoseg.missing import absent_counts

    for name, count in absent_counts(dataset, [case.absent for case in dataset.cases]).items():
        filled = f"filled with {dataset.missing[name]:g} after normalization"
        console.print(
            f"channel {name}: missing in {count} of {len(dataset.cases)} cases, {filled}", soft_wrap=True, markup=False
        )


def _print_findings(dataset: Dataset, findings: list[Finding]) -> None:
    from rich.table import Table

    errors = sum(finding.severity == "error" for finding in findings)
    if findings:
        table = Table("", "case", "what was found")
        for finding in findings:
            colour = "red" if finding.severity == "error" else "yellow"
            table.add_row(f"[{colour}]{finding.severity}[/]", finding.case, finding.message)
        console.print(table)
    classes = ", ".join(dataset.classes)
    console.print(
        f"{dataset.name}: {len(dataset.cases)} cases, channels {', '.join(dataset.channels)}, classes {classes}: "
        f"{errors} errors, {len(findings) - errors} warnings",
        soft_wrap=True,
        markup=False,
    )
