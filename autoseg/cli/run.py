"""The command ``autoseg run``: plans, preprocesses, trains all folds and chooses."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoseg.cli.display import case_progress, console, log_file, notices
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
    Workers,
    WorkspaceOption,
    planning_options,
)
from autoseg.cli.train_fold import INTERRUPTED, training_progress

if TYPE_CHECKING:
    from autoseg.workspace.paths import FoldFolder


def run(
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
    iterations: Annotated[
        int | None, typer.Option(min=1, help="Training steps of each fold, or trees of a forest.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the initial weights and of sampling.")] = 0,
) -> int:
    """Plan, preprocess, train all folds of all configurations, and choose the best. An interrupted run continues."""
    from autoseg.api import plan_and_preprocess
    from autoseg.system.units import parse_duration

    with case_progress() as progress:
        place = plan_and_preprocess(
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
    options: dict[str, Any] = {"device": device, "iterations": iterations, "workers": workers, "seed": seed}
    if time_budget is not None:
        options["time_budget"] = parse_duration(time_budget)
    return train_all(place.root, **options)


def train_all(root: Path, **options: Any) -> int:
    """Train and validate the missing folds of a workspace, then choose the configurations for prediction."""
    from autoseg.api import train_fold
    from autoseg.choice import choose
    from autoseg.cli.choice_table import print_choice
    from autoseg.learning.loop import Interrupted
    from autoseg.plan.schema import training_order
    from autoseg.workspace.paths import Workspace

    place = Workspace(root)
    plan = place.plan()
    # A cascade needs label maps of all cases, so its previous stage must validate all of them in spite of its budget.
    previous_stages = {configuration.previous_stage for configuration in plan.configurations.values()}
    for name in training_order(plan):
        for fold in range(len(place.splits())):
            folder = place.fold(name, fold, plan)
            if _is_done(folder, whole=name in previous_stages):
                continue
            work = partial(train_fold, root, name, fold, **options)
            try:
                with log_file(folder.log), training_progress() as listener:
                    summary = work(listener=listener)
                    if summary.not_validated and name in previous_stages:
                        summary = work(listener=listener)
            except Interrupted:
                notices.print("stopped and saved; run the same command again to continue")
                return INTERRUPTED
            missing = f", {len(summary.not_validated)} cases not validated" if summary.not_validated else ""
            found_dice = f"mean Dice {summary.mean_dice:.4f}" if summary.segments else "trained"
            console.print(f"{name} fold {fold}: {found_dice}{missing}")
    with case_progress() as progress:
        device = options.get("device", "auto")
        found = choose(place, device=device, workers=options.get("workers"), progress=progress)
    print_choice(found)
    console.print(f"next: autoseg predict-folder {root} IMAGES OUTPUT", soft_wrap=True, markup=False)
    return 0


def _is_done(folder: FoldFolder, *, whole: bool) -> bool:
    """Return whether a fold is trained and validated; with ``whole``, on all of its validation cases."""
    from autoseg.evaluation.summary import read_summary

    if not (folder.summary.exists() and folder.model.exists()):
        return False
    return not (whole and read_summary(folder.summary).not_validated)
