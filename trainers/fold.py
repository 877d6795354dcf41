"""Training one fold: from a workspace to weights and validation metrics."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from autoseg.augmentation import Augmentation, build_augmentation
from autoseg.dataset import Dataset
from autoseg.errors import PlanError
from autoseg.evaluation.summary import Summary
from autoseg.inference.members import window_of
from autoseg.inference.sliding_window import Window
from autoseg.losses.fitting import check_loss
from autoseg.networks.build import build_network
from autoseg.plan import Configuration, Plan, mirror_axes
from autoseg.planners.check import check_configuration
from autoseg.planners.resources import choose_device, computes_bfloat16
from autoseg.preprocessing.normalization import output_channels
from autoseg.preprocessing.normalization.declared import check_plan
from autoseg.preprocessing.previous_stage import PreviousStage, digest, find_previous_stage, prepare_previous_stage
from autoseg.sampling import ALL_FOLDS, CaseSampler, Stream, build_sampler
from autoseg.splits import Fold, fold_cases
from autoseg.swapping import Swapping, plan_swapping
from autoseg.trainers.annotation import annotation_table, stored_holders
from autoseg.trainers.budget import Budget, plan_budget
from autoseg.trainers.checkpoint import remove_state
from autoseg.trainers.interrupts import stop_on_signals
from autoseg.trainers.learner import Learner, build_learner
from autoseg.trainers.loader import Cases, PatchSource, batches, fits_in_memory, loader_workers
from autoseg.trainers.loop import LoopSettings, Progress, restore_progress, run_loop
from autoseg.trainers.monitor import Listener, plot_progress
from autoseg.trainers.pace import Pace
from autoseg.trainers.validation import MOST_PATCHES, FoldValidation, PatchScore, patch_scores, validate_cases
from autoseg.training_log import read_metrics
from autoseg.weights import load_weights, save_tensors
from autoseg.workspace import FoldFolder, Workspace

logger = logging.getLogger("autoseg.training")

CHECKPOINT_SECONDS = 120.0
"""Writing a checkpoint takes about a second."""


@dataclass(frozen=True)
class FoldRequest:
    """Which fold to train, and what overrides its plan."""

    workspace: Workspace
    configuration: str
    fold: int | str
    trainer: str = "supervised"
    device: str = "auto"
    iterations: int | None = None
    time_budget: float | None = None
    workers: int | None = None
    seed: int = 0
    restart: bool = False
    save_probabilities: bool = True
    """Keep the probabilities of the validation cases, without which ``autoseg choose`` computes them again."""
    checkpoint_seconds: float = CHECKPOINT_SECONDS


@dataclass(frozen=True)
class _Setting:
    """All that a fold's training is made from."""

    request: FoldRequest
    dataset: Dataset
    plan: Plan
    configuration: Configuration
    split: Fold
    device: torch.device
    folder: FoldFolder
    previous: PreviousStage | None

    @property
    def window(self) -> Window:
        """How validation cases are predicted: with mirroring, as new images are."""
        source = self.request.workspace.plan_file
        return window_of(self.plan, self.dataset, self.configuration, mirror=True, source=source)

    @property
    def swapping(self) -> Swapping | None:
        """What changes places in patches that are mirrored across the body."""
        return plan_swapping(self.plan, self.configuration, self.dataset, source=self.request.workspace.plan_file)

    @property
    def previous_labels(self) -> int:
        """Number of labels that a previous stage tells apart, each a further input channel."""
        return len(self.dataset.values) if self.previous else 0


def train_fold(request: FoldRequest, *, listener: Listener | None = None) -> Summary:
    """Train a fold, or go on where it was stopped, validate it, and return the metrics of its validation cases.

    Raises :class:`autoseg.trainers.loop.Interrupted` after saving its state when a signal asks to stop.
    """
    started = time.monotonic()
    setting = _prepare(request)
    folder = setting.folder
    if request.restart and folder.root.exists():
        _clear(folder)
    folder.root.mkdir(parents=True, exist_ok=True)
    if setting.previous:
        prepare_previous_stage(setting.previous, setting.dataset, workers=request.workers)
    network = seeded_network(setting.configuration, setting.dataset, seed=request.seed)
    network = network.to(setting.device)
    validation = FoldValidation(
        setting.dataset,
        _cases(setting, setting.split.val),
        folder,
        setting.window,
        setting.device,
        # What fold "all" validates on it was trained on, which says nothing about ensembles.
        request.save_probabilities and request.fold != "all",
    )
    if not folder.model.exists():
        _train(setting, network, validation, started=started, listener=listener)
    load_weights(network, folder.model, str(setting.device))
    logger.info("validating %d cases", len(setting.split.val))
    summary = validate_cases(network, validation)
    summary.write_json(folder.summary)
    summary.write_csv(folder.validation / "summary.csv")
    return summary


def _clear(folder: FoldFolder) -> None:
    """Remove all that earlier runs left of a fold but the log, which the present run is already writing to."""
    for path in folder.root.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path != folder.log:
            path.unlink()


def seeded_network(configuration: Configuration, dataset: Dataset, *, seed: int) -> torch.nn.Module:
    """Build a configuration's network with weights that only ``seed`` decides."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_network(configuration, dataset)


def _prepare(request: FoldRequest) -> _Setting:
    workspace = request.workspace
    dataset, plan = workspace.dataset(), workspace.plan()
    check_plan(plan, dataset, workspace.plan_file)
    configuration = plan.configuration(request.configuration)
    check_loss(configuration.loss, dataset)
    try:
        check_configuration(request.configuration, configuration, dataset, plan.memory)
    except PlanError as error:
        raise PlanError(f"{workspace.plan_file}: {error}") from None
    split = fold_cases(workspace.splits(), request.fold)
    device = torch.device(choose_device(request.device))
    if configuration.precision == "bfloat16" and not computes_bfloat16(str(device)):
        # The plan is obeyed all the same.
        logger.warning("%s has no native bfloat16; float32 in the plan would be faster here", device)
    folder = workspace.fold(request.configuration, request.fold, request.trainer)
    previous = find_previous_stage(workspace, plan, request.configuration, fold=request.fold, trainer=request.trainer)
    return _Setting(request, dataset, plan, configuration, split, device, folder, previous)


def _cases(setting: _Setting, names: tuple[str, ...]) -> Cases:
    folder = setting.request.workspace.data(setting.plan, setting.configuration)
    previous = setting.previous.folder if setting.previous else None
    return Cases(folder, names, in_memory=fits_in_memory(folder, names, previous=previous), previous=previous)


def _train(
    setting: _Setting,
    network: torch.nn.Module,
    validation: FoldValidation,
    *,
    started: float,
    listener: Listener | None,
) -> None:
    """Train to the end and write the model; remove the validation of an earlier model first.

    ``started`` is when the command began, by the monotonic clock: all of it counts against a time budget.
    """
    request, configuration = setting.request, setting.configuration
    if setting.folder.validation.exists():
        shutil.rmtree(setting.folder.validation)
    train_cases = _cases(setting, setting.split.train)
    source = _source(setting, train_cases, "train")
    workers = loader_workers(request.workers, source)
    learner = build_learner(setting.configuration, network, device=setting.device, trainer=setting.request.trainer)
    validated = _source(setting, validation.cases, "validate")
    budget = plan_budget(
        learner,
        source,
        validation,
        iterations=request.iterations,
        seconds=request.time_budget,
        training=configuration.training,
        started=started,
    )
    identity = _identity(setting)
    progress = restore_progress(learner, setting.folder, identity) or Progress(
        Pace(budget.iterations, seconds=time.monotonic() - started)
    )
    if progress.pace.step:
        logger.info("going on after step %d of %d", progress.pace.step, progress.pace.total)
    _log_start(setting, train_cases, progress, workers, budget)
    with stop_on_signals() as stop_requested:
        settings = LoopSettings(
            folder=setting.folder,
            classes=setting.dataset.class_indices,
            validate=_patch_validation(setting, learner, validated),
            steps_end_at=budget.steps_end_at,
            stop_requested=stop_requested,
            checkpoint_seconds=request.checkpoint_seconds,
            identity=identity,
            listener=listener,
        )
        stream = batches(source, first=progress.pace.step, device=setting.device, workers=workers)
        run_loop(learner, progress, stream, settings)
    title = f"{setting.dataset.name}, {request.configuration}, fold {request.fold}"
    plot_progress(setting.folder.progress, read_metrics(setting.folder.metrics), title)
    save_tensors(setting.folder.model, learner.final_weights())
    remove_state(setting.folder.resume_state)


def _source(setting: _Setting, cases: Cases, purpose: str) -> PatchSource:
    """Make the stream of training samples, or the one of plain patches that validation takes."""
    configuration, request = setting.configuration, setting.request
    trains = purpose == "train"
    fold = request.fold if isinstance(request.fold, int) else ALL_FOLDS
    augmentation = _augmentation(setting, configuration.augmentation if trains else {"name": "none"})
    sampler = build_sampler(configuration.sampling if trains else {"name": "foreground", "fraction": 1.0})
    return PatchSource(
        cases=cases,
        stream=Stream(seed=request.seed, fold=fold, cases=len(cases), purpose=0 if trains else 1),
        sampler=sampler,
        augmentation=augmentation,
        patch=configuration.patch_shape,
        dimension=configuration.dimension,
        batch_size=configuration.batch_size,
        transform=augmentation.loader_transform,
        annotated=annotation_table(setting.dataset, cases.names),
        holders=stored_holders(setting.dataset, cases) if isinstance(sampler, CaseSampler) else {},
    )


def _augmentation(setting: _Setting, spec: dict[str, object]) -> Augmentation:
    configuration = setting.configuration
    return build_augmentation(
        spec,
        dimension=configuration.dimension,
        patch_size=configuration.patch_size,
        spacing=configuration.patch_spacing,
        mirror_axes=mirror_axes(setting.plan, configuration),
        channels=output_channels(configuration.normalization),
        previous_labels=setting.previous_labels,
        swapping=setting.swapping,
    )


def _patch_validation(setting: _Setting, learner: Learner, source: PatchSource) -> Callable[[], dict[str, PatchScore]]:
    """Return a function that measures each class over patches of the validation cases."""
    patches = min(MOST_PATCHES, max(len(source.cases), source.batch_size))
    return lambda: patch_scores(
        learner.network, source, patches=patches, dataset=setting.dataset, device=setting.device
    )


def _identity(setting: _Setting) -> dict[str, object]:
    """Return what must not change between the runs that train one fold together."""
    from autoseg.records import to_plain

    request = setting.request
    return {
        "seed": request.seed,
        "iterations": request.iterations,
        "configuration": to_plain(setting.configuration),
        "train": list(setting.split.train),
        **({"previous_stage": digest(setting.previous.folder, setting.split.train)} if setting.previous else {}),
    }


def _log_start(setting: _Setting, cases: Cases, progress: Progress, workers: int, budget: Budget) -> None:
    configuration = setting.configuration
    logger.info(
        "%s fold %s: %d cases %s, batch %d of %s, %d steps%s, %s in %s, %d loader workers",
        setting.request.configuration,
        setting.request.fold,
        len(cases),
        "in memory" if cases.in_memory else "on disk",
        configuration.batch_size,
        "×".join(map(str, configuration.patch_size)),
        progress.pace.total,
        f" in {budget.seconds:.0f} s" if budget.seconds else "",
        setting.device,
        configuration.precision,
        workers,
    )
