"""The pipeline as functions; the commands are thin wrappers of these."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoseg.dataset import Dataset, write_dataset
from autoseg.dataset_layouts import load_dataset, load_folders
from autoseg.errors import DatasetError, PlanError, WorkspaceError
from autoseg.plan import Plan, read_plan, write_plan
from autoseg.workspace import Workspace

if TYPE_CHECKING:
    from autoseg.evaluation.summary import Summary
    from autoseg.fingerprint import Fingerprint

logger = logging.getLogger("autoseg")

DEFAULT_PLANNER = "unet"
ENSEMBLE_PLANNER = "emma"
"""Where members are named and no planner is."""

Progress = Callable[[str, int], Callable[[str], None]]
"""Begins a progress display (what is done, to how many cases) and returns what is called with each finished case."""


def plan_and_preprocess(
    dataset: Path | str | None = None,
    *,
    images: Path | str | None = None,
    labels: Path | str | None = None,
    workspace: Path | str | None = None,
    configurations: Sequence[str] | None = None,
    planner: str | None = None,
    members: Sequence[str] | None = None,
    device: str = "auto",
    memory: int | None = None,
    time_budget: float | None = None,
    speed: str | None = None,
    workers: int | None = None,
    splits: str = "kfold",
    folds: int = 5,
    replan: bool = False,
    progress: Progress | None = None,
) -> Workspace:
    """Check a dataset, measure its fingerprint, plan, and preprocess its cases; return the workspace.

    ``dataset`` is a folder with ``dataset.json``; or give ``images`` and ``labels``, two folders. ``memory`` is in
    bytes, ``time_budget`` in seconds for a fold, which is planned for the speed of this machine, or for that which
    ``speed`` states: "reference", or the path of a file of speeds. ``members`` are those of EMMA, networks,
    normalizations or one of each as ``network/normalization``. What is done already, and still fits the files, is not
    done again; a plan that is there is kept, edits included, unless ``replan`` is set or another planner, device,
    memory, budget, speed, configuration or member is asked for, or the dataset declares another normalization or other
    channels that may be missing or are computed.
    """
    from autoseg.execution import default_workers
    from autoseg.preprocessing.run import preprocess

    found = open_dataset(dataset, images, labels)
    place = Workspace(Path(workspace) if workspace else Path(f"{found.name}.autoseg"))
    workers = default_workers() if workers is None else workers
    fingerprint = fingerprint_dataset(found, place, workers=workers, progress=progress)
    divide_cases(found, fingerprint, place, kind=splits, folds=folds)
    plan = plan_dataset(
        found,
        fingerprint,
        place,
        configurations=configurations,
        planner=planner,
        members=members,
        device=device,
        memory=memory,
        time_budget=time_budget,
        speed=speed,
        replan=replan,
    )
    for decision in plan.explanation:
        logger.info("%s: %s", decision.about, decision.decision)
    count = preprocess(place, plan, workers=workers, progress=_begin(progress, "preprocessing", len(found.cases)))
    logger.info("%d cases preprocessed, the others were there already", count)
    return place


def open_dataset(
    dataset: Path | str | None, images: Path | str | None = None, labels: Path | str | None = None
) -> Dataset:
    """Find the cases of a dataset folder, or of a folder of images and one of label maps."""
    if dataset is not None and images is None and labels is None:
        return load_dataset(Path(dataset))
    if dataset is None and images is not None and labels is not None:
        return load_folders(Path(images), Path(labels))
    raise DatasetError("expected either a dataset folder or both --images and --labels; name one of the two")


def fingerprint_dataset(
    dataset: Dataset, workspace: Workspace, *, workers: int, progress: Progress | None = None
) -> Fingerprint:
    """Examine every case and write dataset.json and fingerprint.json, unless they are there and still fit the files."""
    from autoseg.fingerprint import build_fingerprint, examine_all, is_current, write_fingerprint

    _refuse_dataset_folder(dataset, workspace)
    if workspace.fingerprint_file.exists():
        fingerprint = workspace.fingerprint()
        if is_current(fingerprint, dataset) and workspace.dataset() == dataset:
            return fingerprint
    examinations = examine_all(dataset, workers=workers, progress=_begin(progress, "examining", len(dataset.cases)))
    fingerprint = build_fingerprint(dataset, examinations)
    for warning in fingerprint.warnings:
        logger.warning("%s", warning)
    write_dataset(workspace.dataset_file, dataset)
    write_fingerprint(workspace.fingerprint_file, fingerprint)
    return fingerprint


def _refuse_dataset_folder(dataset: Dataset, workspace: Workspace) -> None:
    """Refuse a workspace in the dataset's own folder, whose dataset.json would be overwritten."""
    if workspace.fingerprint_file.exists() or not workspace.dataset_file.exists():
        return
    taken = {case.images[0].absolute().parent.parent for case in dataset.cases}
    if workspace.root.resolve() in {folder.resolve() for folder in taken}:
        raise WorkspaceError(f"{workspace.root}: is the dataset's own folder; name another --workspace")


def plan_dataset(
    dataset: Dataset,
    fingerprint: Fingerprint,
    workspace: Workspace,
    *,
    configurations: Sequence[str] | None = None,
    planner: str | None = None,
    members: Sequence[str] | None = None,
    device: str = "auto",
    memory: int | None = None,
    time_budget: float | None = None,
    speed: str | None = None,
    replan: bool = True,
    edits: Sequence[str] = (),
) -> Plan:
    """Decide what to do and write plan.json.

    Unless ``replan`` is set, a plan that is there is kept, edits included, if it was made for what is asked for.
    ``edits`` are assignments such as ``3d_fullres.batch_size=4``; see :func:`autoseg.planners.edits.edited`.
    """
    asked = _asked(
        device,
        memory=memory,
        time_budget=time_budget,
        speed=speed,
        configurations=configurations,
        planner=planner,
        members=members,
    )
    asked["normalization"] = dataset.normalization
    asked["missing"] = dataset.missing
    asked["extra_channels"] = dataset.extra_channels
    asked["sides"] = [*(list(pair) for pair in dataset.sides), *([name] for name in dataset.one_sided)]
    plan = read_plan(workspace.plan_file) if workspace.plan_file.exists() and not replan else None
    if plan is not None and not _differs(plan, asked) and not edits:
        return _kept(plan, dataset, fingerprint, workspace)
    if plan is None or _differs(plan, asked):
        before = plan.planner if plan else DEFAULT_PLANNER
        plan = _make_plan(dataset, fingerprint, asked, ENSEMBLE_PLANNER if "members" in asked else before)
    if edits:
        from autoseg.planners.edits import edited

        plan = edited(plan, edits, dataset, fingerprint)
    write_plan(workspace.plan_file, plan)
    return plan


def _kept(plan: Plan, dataset: Dataset, fingerprint: Fingerprint, workspace: Workspace) -> Plan:
    """Return a plan that stays, with numbers for weights of classes where a person wrote what they are to be."""
    from autoseg.planners.class_weights import with_class_weights

    numbered = with_class_weights(plan, dataset, fingerprint)
    if numbered != plan:
        write_plan(workspace.plan_file, numbered)
    return numbered


def _make_plan(dataset: Dataset, fingerprint: Fingerprint, asked: dict[str, Any], default: str) -> Plan:
    """Plan for what is ``asked`` for, and for what this machine has where nothing is; ``default`` is a planner."""
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
    plan = make_plan(PlanRequest(dataset, fingerprint, resources, names, members), planner)
    # What it was made for, the planner apart, which the plan names itself.
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

    ``options`` are the fields of :class:`autoseg.trainers.setting.FoldRequest`: trainer, device, iterations,
    time_budget in seconds, workers, seed, restart, save_probabilities, checkpoint_seconds.
    """
    from autoseg.trainers.fold import train_fold as train
    from autoseg.trainers.setting import FoldRequest

    return train(FoldRequest(Workspace(Path(workspace)), configuration, fold, **options), listener=listener)


def _asked(device: str, **options: Any) -> dict[str, Any]:
    """Return what was asked for explicitly, as a plan keeps it."""
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in options.items()}
    return {key: value for key, value in {**plain, "device": device}.items() if value not in (None, "auto")}


def _differs(plan: Plan, asked: dict[str, Any]) -> bool:
    """Tell whether anything that is asked for now is not what a plan was made for."""
    made_for = {
        "normalization": {},
        "missing": {},
        "extra_channels": {},
        "sides": [],
        **plan.request,
        "planner": plan.planner,
    }
    return any(made_for.get(key) != value for key, value in asked.items())


def divide_cases(dataset: Dataset, fingerprint: Fingerprint, workspace: Workspace, *, kind: str, folds: int) -> None:
    """Write splits.json, the folds, unless there are some for these very cases: the user may have written them."""
    from autoseg.splits import grouped, kfold, stratified, write_splits

    names = [case.name for case in dataset.cases]
    if workspace.splits_file.exists():
        placed = {name for split in workspace.splits() for name in (*split.train, *split.val)}
        if set(names) - placed:
            left = sorted(set(names) - placed)
            logger.warning("%s: %d cases are in no fold, such as %s", workspace.splits_file, len(left), left[0])
        return
    if len(names) < folds:
        logger.warning("%d cases are fewer than %d folds: making %d folds", len(names), folds, len(names))
    if kind == "group" and not dataset.groups:
        raise DatasetError("splits 'group': dataset.json has no 'groups', expected an object of case and group names")
    if kind == "stratified":
        strata = {case.name: _stratum(case.class_voxels) for case in fingerprint.cases}
        write_splits(workspace.splits_file, stratified(names, strata, folds))
    elif kind in ("kfold", "group"):
        use_groups = kind == "group" or bool(dataset.groups)
        splits = grouped(names, dataset.groups, folds) if use_groups else kfold(names, folds)
        write_splits(workspace.splits_file, splits)
    else:
        raise PlanError(f"splits '{kind}': expected kfold, group or stratified")


def _stratum(class_voxels: dict[str, int]) -> tuple[object, ...]:
    """Sort cases by the classes they hold, then by how much there is of them."""
    return tuple(count > 0 for count in class_voxels.values()), sum(class_voxels.values())


def _begin(progress: Progress | None, description: str, count: int) -> Callable[[str], None] | None:
    return progress(description, count) if progress else None
