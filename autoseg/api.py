"""The pipeline as Python functions; the commands call these functions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoseg.data.dataset import Dataset, write_dataset
from autoseg.data.layouts import load_dataset, load_folders
from autoseg.errors import DatasetError, WorkspaceError
from autoseg.plan.files import read_plan, write_plan
from autoseg.plan.schema import Plan
from autoseg.preprocessing.declared import check_declared
from autoseg.registry import Component
from autoseg.workspace.dividing import divide_cases
from autoseg.workspace.paths import Workspace

if TYPE_CHECKING:
    from autoseg.evaluation.summary import Summary
    from autoseg.fingerprint.record import Fingerprint
    from autoseg.system.execution import CaseExecutor

logger = logging.getLogger("autoseg")

DEFAULT_PLANNER = "unet"
ENSEMBLE_PLANNER = "emma"
"""Default planner if ensemble members are given."""

Progress = Callable[[str, int], Callable[[str], None]]
"""Function (task, number of cases) that starts a progress display; it returns a function to call after each case."""


@dataclass(frozen=True)
class PlanningOptions:
    """The user's options for planning; the planner decides the options that are None."""

    configurations: Sequence[str] | None = None
    """Names of the configurations to plan."""
    planner: str | None = None
    trainer: str | None = None
    """Name of the trainer of all configurations; the default is supervised training."""
    members: Sequence[str] | None = None
    """Ensemble members of EMMA: networks, normalizations, or pairs ``network/normalization``."""
    device: str = "auto"
    memory: int | None = None
    """Memory limit of a training step, in bytes."""
    time_budget: float | None = None
    """Seconds for a fold."""
    speed: str | None = None
    """Machine speed used to plan the time budget: "reference", or the path of a file; None measures this machine."""
    edits: Sequence[str] = ()
    """Assignments such as ``3d_fullres.batch_size=4``; see :func:`autoseg.planners.edits.edited`."""

    def given(self) -> dict[str, Any]:
        """Return the explicitly given options without edits, in the form stored in a plan."""
        plain = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "edits"}
        lists = {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}
        return {key: value for key, value in lists.items() if value not in (None, "auto")}


def plan_and_preprocess(
    dataset: Path | str | None = None,
    *,
    images: Path | str | None = None,
    labels: Path | str | None = None,
    unlabelled: Path | str | None = None,
    workspace: Path | str | None = None,
    workers: int | None = None,
    splits: str = "kfold",
    folds: int = 5,
    replan: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Workspace:
    """Check a dataset, measure its fingerprint, plan, and preprocess its cases; return the workspace.

    ``dataset`` is a folder with ``dataset.json``; alternatively give two folders, ``images`` and ``labels``,
    and optionally a folder of images without label maps, ``unlabelled``.
    ``options`` are the fields of :class:`PlanningOptions`. Existing results that still match the files are reused. An
    existing plan is kept with its edits, unless ``replan`` is set, other options are given, or the dataset declares
    another normalization, other sides, or other optional or extra channels.
    """
    from autoseg.preprocessing.run import preprocess
    from autoseg.system.execution import local_executor

    asked = PlanningOptions(**options)
    found = open_dataset(dataset, images, labels, unlabelled)
    place = Workspace(Path(workspace) if workspace else Path(f"{found.name}.autoseg"))
    executor = local_executor(workers)
    fingerprint = fingerprint_dataset(found, place, executor=executor, progress=progress)
    divide_cases(found, fingerprint, place, kind=splits, folds=folds)
    plan = plan_dataset(found, fingerprint, place, asked, replan=replan)
    for decision in plan.explanation:
        logger.info("%s: %s", decision.about, decision.decision)
    count = preprocess(place, plan, executor=executor, progress=_begin(progress, "preprocessing", len(found.cases)))
    logger.info("%d cases preprocessed, the others already existed", count)
    return place


def open_dataset(
    dataset: Path | str | None,
    images: Path | str | None = None,
    labels: Path | str | None = None,
    unlabelled: Path | str | None = None,
) -> Dataset:
    """Find the cases of a dataset folder, or of a folder of images, one of label maps and one of unlabelled images."""
    if dataset is not None and images is None and labels is None and unlabelled is None:
        found = load_dataset(Path(dataset))
        check_declared(found, Path(dataset) / "dataset.json")
        return found
    if dataset is not None and images is None and labels is None:
        raise DatasetError("--unlabelled belongs to --images and --labels; move the images to DATASET/unlabelledTr")
    if dataset is None and images is not None and labels is not None:
        return load_folders(Path(images), Path(labels), Path(unlabelled) if unlabelled else None)
    raise DatasetError("expected either a dataset folder or both --images and --labels; give one of the two")


def fingerprint_dataset(
    dataset: Dataset, workspace: Workspace, *, executor: CaseExecutor, progress: Progress | None = None
) -> Fingerprint:
    """Examine every case; write dataset.json and fingerprint.json unless they exist and still match the files."""
    from autoseg.fingerprint.measuring import build_fingerprint, examine_all, is_current
    from autoseg.fingerprint.record import write_fingerprint
    from autoseg.preprocessing.extra.files import case_faults

    _refuse_dataset_folder(dataset, workspace)
    if workspace.fingerprint_file.exists():
        fingerprint = workspace.fingerprint()
        if is_current(fingerprint, dataset) and workspace.dataset() == dataset:
            return fingerprint
    examinations = examine_all(
        dataset, executor=executor, check=case_faults, progress=_begin(progress, "examining", len(dataset.cases))
    )
    fingerprint = build_fingerprint(dataset, examinations)
    for warning in fingerprint.warnings:
        logger.warning("%s", warning)
    write_dataset(workspace.dataset_file, dataset)
    write_fingerprint(workspace.fingerprint_file, fingerprint)
    return fingerprint


def _refuse_dataset_folder(dataset: Dataset, workspace: Workspace) -> None:
    """Raise :class:`WorkspaceError` for a workspace in the dataset's folder: it would overwrite dataset.json."""
    if workspace.fingerprint_file.exists() or not workspace.dataset_file.exists():
        return
    taken = {case.images[0].absolute().parent.parent for case in dataset.cases}
    if workspace.root.resolve() in {folder.resolve() for folder in taken}:
        raise WorkspaceError(f"{workspace.root}: is the dataset's own folder; name another --workspace")


def plan_dataset(
    dataset: Dataset,
    fingerprint: Fingerprint,
    workspace: Workspace,
    options: PlanningOptions | None = None,
    *,
    replan: bool = True,
) -> Plan:
    """Make the plan and write plan.json.

    Unless ``replan`` is set, an existing plan with the same options is kept, with its edits.
    """
    options = options or PlanningOptions()
    edits = options.edits
    asked = options.given()
    asked["normalization"] = dataset.normalization
    asked["optional_channels"] = dataset.optional_channels
    asked["extra_channels"] = dataset.extra_channels
    asked["sides"] = [*(list(pair) for pair in dataset.sides), *([name] for name in dataset.one_sided)]
    plan = read_plan(workspace.plan_file) if workspace.plan_file.exists() and not replan else None
    if plan is not None and not _differs(plan, asked) and not edits:
        return _kept(plan, dataset, fingerprint, workspace)
    if plan is None or _differs(plan, asked):
        plan = _make_plan(dataset, fingerprint, asked, _default_planner(asked, plan))
    if edits:
        from autoseg.planners.edits import edited

        plan = edited(plan, edits, dataset, fingerprint)
    write_plan(workspace.plan_file, plan)
    return plan


def _kept(plan: Plan, dataset: Dataset, fingerprint: Fingerprint, workspace: Workspace) -> Plan:
    """Return a kept plan; class weights given as a rule are replaced by numbers."""
    from autoseg.planners.class_weights import with_class_weights

    numbered = with_class_weights(plan, dataset, fingerprint)
    if numbered != plan:
        write_plan(workspace.plan_file, numbered)
    return numbered


def _default_planner(asked: dict[str, Any], before: Plan | None) -> str:
    """Return the planner to use unless the user names one: that of the members, of the trainer, or of the last plan."""
    if "members" in asked:
        return ENSEMBLE_PLANNER
    if "trainer" in asked:
        from autoseg.learning.trainer import trainers

        own: str | None = getattr(trainers.get(asked["trainer"]), "planner", None)
        if own is not None:
            return own
    return before.planner if before else DEFAULT_PLANNER


def _make_plan(dataset: Dataset, fingerprint: Fingerprint, asked: dict[str, Any], default: str) -> Plan:
    """Make a plan for the ``asked`` options; this machine's resources are the default, and ``default`` the planner."""
    from autoseg.planners.base import MEMORY_TARGETS, PlanRequest, make_plan
    from autoseg.planners.resources import detect

    planner = asked.get("planner", default)
    resources = detect(
        asked.get("device", "auto"),
        memory=asked.get("memory"),
        target=MEMORY_TARGETS.get(planner),
        time_budget=asked.get("time_budget"),
        speed=asked.get("speed"),
    )
    names, members = (tuple(asked[key]) if key in asked else None for key in ("configurations", "members"))
    trainer: Component | None = {"name": asked["trainer"]} if "trainer" in asked else None
    plan = make_plan(PlanRequest(dataset, fingerprint, resources, names, members, trainer), planner)
    # The plan stores the planner in its own field, not in the request.
    return replace(plan, request={key: value for key, value in asked.items() if value and key != "planner"})


def train_fold(
    workspace: Path | str,
    configuration: str,
    fold: int | str,
    *,
    listener: Callable[[Any], None] | None = None,
    **options: Any,
) -> Summary:
    """Train one fold and return the metrics of its validation cases.

    ``options`` are the fields of :class:`autoseg.learning.setting.FoldRequest`: device, iterations, time_budget in
    seconds, workers, seed, restart, save_probabilities, checkpoint_seconds.
    """
    from autoseg.learning.fold import train_fold as train
    from autoseg.learning.setting import FoldRequest

    return train(FoldRequest(Workspace(Path(workspace)), configuration, fold, **options), listener=listener)


def _differs(plan: Plan, asked: dict[str, Any]) -> bool:
    """Return whether any of the ``asked`` options differs from the options of the plan."""
    made_for = {
        "normalization": {},
        "optional_channels": {},
        "extra_channels": {},
        "sides": [],
        **plan.request,
        "planner": plan.planner,
    }
    return any(made_for.get(key) != value for key, value in asked.items())


def _begin(progress: Progress | None, description: str, count: int) -> Callable[[str], None] | None:
    return progress(description, count) if progress else None
