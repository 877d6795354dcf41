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
from autoseg.trainers.checkpoint import remove_state
from autoseg.trainers.interrupts import stop_on_signals
from autoseg.trainers.learner import Learner, build_learner
from autoseg.trainers.loader import Cases, PatchSource, batches, loader_workers
from autoseg.trainers.loop import LoopSettings, Progress, restore_progress, run_loop
from autoseg.trainers.monitor import Listener, plot_progress
from autoseg.trainers.pace import Pace
from autoseg.trainers.previews import write_previews
from autoseg.trainers.prior import fill_prior_maps
from autoseg.trainers.samples import fold_data, patch_source
from autoseg.trainers.setting import FoldRequest, Setting, read_setting
from autoseg.trainers.supervised import OwnTraining, learning_modes
from autoseg.trainers.validation import MOST_PATCHES, FoldValidation, PatchScore, patch_scores, validate_cases
from autoseg.training_log import read_metrics
from autoseg.weights import save_tensors
from autoseg.workspace import FoldFolder

logger = logging.getLogger("autoseg.training")

DRAWN_BY_NETWORKS = 99
"""Purpose of the stream whose sample i seeds what a network draws in step i."""


def train_fold(request: FoldRequest, *, listener: Listener | None = None) -> Summary:
    """Train a fold, or go on where it was stopped, validate it, and return the metrics of its validation cases.

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
    if folder.model.exists():
        logger.info("trained already, with the seed and length of then; --restart trains anew")
    else:
        # What an earlier model predicted is none of the new one's.
        if folder.validation.exists():
            shutil.rmtree(folder.validation)
        if isinstance(trainer, OwnTraining):
            trainer.train(setting, started=started, listener=listener)
        else:
            _train(setting, validation, started=started, listener=listener)
    network = load_network(setting.configuration, setting.dataset, folder.model, setting.device)
    logger.info("validating %d cases", len(setting.split.val))
    summary = validate_cases(network, validation)
    summary.write_json(folder.summary)
    summary.write_csv(folder.validation / "summary.csv")
    write_previews(summary, setting.dataset, folder)
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


def _train(
    setting: Setting,
    validation: FoldValidation,
    *,
    started: float,
    listener: Listener | None,
) -> None:
    """Train to the end and write the model.

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
    budget = plan_budget(
        learner,
        source,
        validation,
        iterations=request.iterations,
        seconds=request.time_budget,
        training=configuration.training,
        started=started,
    )
    identity = setting.identity
    progress = restore_progress(learner, setting.folder, identity) or Progress(
        Pace(budget.iterations, seconds=time.monotonic() - started)
    )
    if progress.pace.step:
        logger.info("going on after step %d of %d", progress.pace.step, progress.pace.total)
    _log_start(setting, train_cases, progress, workers, budget)
    chance = replace(source.stream, purpose=DRAWN_BY_NETWORKS)
    with stop_on_signals() as stop_requested, torch.random.fork_rng(devices=[]):
        settings = LoopSettings(
            folder=setting.folder,
            classes=setting.dataset.class_indices,
            validate=_patch_validation(setting, learner, validated),
            steps_end_at=budget.steps_end_at,
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


def _patch_validation(setting: Setting, learner: Learner, source: PatchSource) -> Callable[[], dict[str, PatchScore]]:
    """Return a function that measures each class over patches of the validation cases."""
    patches = min(MOST_PATCHES, max(len(source.cases), source.batch_size))
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
        f" in {budget.seconds:.0f} s" if budget.seconds else "",
        setting.device,
        configuration.precision,
        workers,
    )
