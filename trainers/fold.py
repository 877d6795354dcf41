"""Training one fold: from a workspace to weights and validation metrics."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from autoseg.dataset import Dataset
from autoseg.evaluation.summary import Summary
from autoseg.inference.members import load_network
from autoseg.networks.build import build_network
from autoseg.plan import Configuration
from autoseg.preprocessing.previous_stage import prepare_previous_stage
from autoseg.trainers.budget import Budget, plan_budget
from autoseg.trainers.checkpoint import load_state, remove_state
from autoseg.trainers.interrupts import stop_on_signals
from autoseg.trainers.learner import Learner, build_learner
from autoseg.trainers.loader import Cases, PatchSource, batches, loader_workers
from autoseg.trainers.loop import LoopSettings, Progress, restore_progress, run_loop, shortest_interval
from autoseg.trainers.monitor import Listener, plot_progress
from autoseg.trainers.pace import Pace
from autoseg.trainers.previews import write_previews
from autoseg.trainers.prior import fill_prior_maps
from autoseg.trainers.samples import fold_data, patch_source
from autoseg.trainers.setting import FoldRequest, Setting, read_setting
from autoseg.trainers.supervised import OwnTraining, learning_modes
from autoseg.trainers.validation import FoldValidation, PatchScore, patch_scores, patches_of, validate_cases
from autoseg.trainers.validation_clock import ValidationClock
from autoseg.training_log import read_metrics
from autoseg.weights import save_tensors
from autoseg.workspace import FoldFolder

logger = logging.getLogger("autoseg.training")

DRAWN_BY_NETWORKS = 99
"""Purpose of the stream whose sample i seeds what a network draws in step i."""


def train_fold(request: FoldRequest, *, listener: Listener | None = None) -> Summary:
    """Train a fold, or go on where it was stopped, validate it, and return the metrics of its validation cases.

    Validation of a fold that was trained within a time budget ends with it; called again, it validates the rest.
    Raises :class:`autoseg.trainers.loop.Interrupted` after saving its state when a signal asks to stop.
    """
    started = time.monotonic()
    trainer = learning_modes.get(request.trainer)
    setting = read_setting(request)
    folder = setting.folder
    if request.restart and folder.root.exists():
        _clear(folder)
    folder.root.mkdir(parents=True, exist_ok=True)
    if setting.previous:
        prepare_previous_stage(setting.previous, setting.dataset, workers=request.workers)
    validation = FoldValidation(
        setting.dataset,
        fold_data(setting, setting.split.val),
        folder,
        setting.window,
        setting.device,
        # What fold "all" validates on it was trained on, which says nothing about ensembles.
        request.save_probabilities and request.fold != "all",
    )
    clock = None
    if folder.model.exists():
        logger.info("trained already, with the seed and length of then; --restart trains anew")
    else:
        # What an earlier model predicted is none of the new one's.
        if folder.validation.exists():
            shutil.rmtree(folder.validation)
        clock = _validation_clock(setting, started=started)
        if isinstance(trainer, OwnTraining):
            trainer.train(setting, started=started, listener=listener)
        else:
            budget = _train(setting, validation, started=started, listener=listener)
            if clock and budget.time:
                budget.time.inform(clock)
    network = load_network(setting.configuration, setting.dataset, folder.model, setting.device)
    logger.info("validating %d cases", len(setting.split.val))
    summary = validate_cases(network, validation, clock=clock)
    if summary.not_validated:
        _say_not_validated(summary, setting)
    summary.write_json(folder.summary)
    summary.write_csv(folder.validation / "summary.csv")
    write_previews(summary, setting.dataset, folder)
    return summary


def _validation_clock(setting: Setting, *, started: float) -> ValidationClock | None:
    """Return what ends validation with the time budget, of which earlier runs have spent some; None without one."""
    limit = setting.time_limit
    if limit is None:
        return None
    found = load_state(setting.folder.resume_state)
    earlier = found[1]["pace"].get("seconds", 0.0) if found else 0.0
    return ValidationClock(limit, started + limit - earlier)


def _say_not_validated(summary: Summary, setting: Setting) -> None:
    request, count = setting.request, len(setting.split.val)
    trainer = f" --trainer {request.trainer}" if request.trainer != "supervised" else ""
    logger.warning(
        "validated %d of %d cases, because the time budget is over; the rest: autoseg train-fold %s %s %s%s",
        count - len(summary.not_validated),
        count,
        request.workspace.root,
        request.configuration,
        request.fold,
        trainer,
    )


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


def _train(
    setting: Setting,
    validation: FoldValidation,
    *,
    started: float,
    listener: Listener | None,
) -> Budget:
    """Train to the end and write the model; return the length that was planned, as it was at the end.

    ``started`` is when the command began, by the monotonic clock: all of it counts against a time budget.
    """
    request, configuration = setting.request, setting.configuration
    train_cases = fold_data(setting, setting.split.train)
    source = patch_source(setting, train_cases, "train")
    workers = loader_workers(request.workers, source)
    network = seeded_network(configuration, setting.dataset, seed=request.seed).to(setting.device)
    fill_prior_maps(network, setting)
    learner = build_learner(configuration, network, device=setting.device, trainer=request.trainer)
    validated = patch_source(setting, validation.cases, "validate")
    patches = patches_of(validated)
    interval = shortest_interval(patches, configuration.batch_size, learner)
    budget = _budget(setting, learner, source, validation, patches=patches, interval=interval, started=started)
    identity = setting.identity
    progress = restore_progress(learner, setting.folder, identity) or Progress(
        Pace(budget.iterations, seconds=time.monotonic() - started)
    )
    if progress.pace.step:
        progress.pace.seconds += time.monotonic() - started
        logger.info("going on after step %d of %d", progress.pace.step, progress.pace.total)
    _log_start(setting, train_cases, progress, workers, budget)
    chance = replace(source.stream, purpose=DRAWN_BY_NETWORKS)
    with stop_on_signals() as stop_requested, torch.random.fork_rng(devices=[]):
        settings = LoopSettings(
            folder=setting.folder,
            classes=setting.dataset.class_indices,
            validate=_patch_validation(setting, learner, validated, patches=patches),
            shortest_interval=interval,
            time=budget.time,
            stop_requested=stop_requested,
            checkpoint_seconds=request.checkpoint_seconds,
            identity=identity,
            step_seed=lambda step: int(chance.rng(step).integers(2**63)),
            listener=listener,
        )
        stream = batches(source, first=progress.pace.step, device=setting.device, workers=workers)
        run_loop(learner, progress, stream, settings)
    title = f"{setting.dataset.name}, {request.configuration}, fold {request.fold}"
    plot_progress(setting.folder.progress, read_metrics(setting.folder.metrics), title)
    save_tensors(setting.folder.model, learner.final_weights())
    remove_state(setting.folder.resume_state)
    return budget


def _budget(
    setting: Setting,
    learner: Learner,
    source: PatchSource,
    validation: FoldValidation,
    *,
    patches: int,
    interval: int,
    started: float,
) -> Budget:
    """Decide the length of a training."""
    if setting.steps is not None:
        return Budget(setting.steps)
    if setting.time_limit is None:
        raise ValueError("a plan has iterations or a time budget")
    return plan_budget(
        learner,
        source,
        validation,
        seconds=setting.time_limit,
        patches=patches,
        interval=interval,
        started=started,
    )


def _patch_validation(
    setting: Setting, learner: Learner, source: PatchSource, *, patches: int
) -> Callable[[], dict[str, PatchScore]]:
    """Return a function that measures each class over patches of the validation cases."""
    return lambda: patch_scores(
        learner.network, source, patches=patches, dataset=setting.dataset, device=setting.device
    )


def _log_start(setting: Setting, cases: Cases, progress: Progress, workers: int, budget: Budget) -> None:
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
        f" in {budget.time.seconds:.0f} s" if budget.time else "",
        setting.device,
        configuration.precision,
        workers,
    )
