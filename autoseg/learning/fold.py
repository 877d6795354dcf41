"""Training one fold: from a workspace to weights and validation metrics."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from autoseg.data.dataset import Dataset
from autoseg.evaluation.summary import Summary
from autoseg.files.weights import save_tensors
from autoseg.inference.members import load_network
from autoseg.learning.budget import Budget, plan_budget
from autoseg.learning.checkpoint import load_state, remove_state
from autoseg.learning.interrupts import stop_on_signals
from autoseg.learning.learner import Learner, build_learner
from autoseg.learning.loader import Cases, PatchSource, batches, loader_workers
from autoseg.learning.loop import LoopSettings, TrainingState, restore_progress, run_loop, shortest_interval
from autoseg.learning.modes import learning_modes
from autoseg.learning.monitor import Listener, plot_progress
from autoseg.learning.progress import TrainingProgress
from autoseg.learning.samples import fold_data, patch_source
from autoseg.learning.setting import FoldRequest, Setting, read_setting
from autoseg.learning.validation.cases import FoldValidation, PatchScore, patch_scores, patches_of, validate_cases
from autoseg.learning.validation.clock import ValidationClock
from autoseg.learning.validation.previews import write_previews
from autoseg.networks.build import build_network, learn_channels
from autoseg.plan.schema import Configuration
from autoseg.preprocessing.channel_layout import channel_layout
from autoseg.preprocessing.extra import TrainingCases
from autoseg.preprocessing.previous_stage import prepare_previous_stage
from autoseg.preprocessing.store import open_case
from autoseg.system.execution import local_executor
from autoseg.workspace.paths import FoldFolder, read_metrics

logger = logging.getLogger("autoseg.training")

DRAWN_BY_NETWORKS = 99
"""Purpose of the random stream whose sample i seeds the random numbers of the network in step i."""


@runtime_checkable
class OwnTraining(Protocol):
    """A trainer without gradient steps, such as a random forest; it does not use the training loop."""

    def train(self, setting: Setting, *, started: float, listener: Listener | None) -> None:
        """Train a fold, or resume it, and write its model file, which contains the description of its network.

        ``started`` is the start of the command on the monotonic clock. Raises
        :class:`autoseg.learning.loop.Interrupted` after saving the state if a signal requests a stop.
        """
        ...


def train_fold(request: FoldRequest, *, listener: Listener | None = None) -> Summary:
    """Train a fold, or resume it, validate it, and return the metrics of its validation cases.

    With a time budget, validation ends when the budget is over; another call validates the remaining cases.
    Raises :class:`autoseg.learning.loop.Interrupted` after saving the state if a signal requests a stop.
    """
    started = time.monotonic()
    trainer = learning_modes.get(request.trainer)
    setting = read_setting(request)
    folder = setting.folder
    if request.restart and folder.root.exists():
        _clear(folder)
    folder.root.mkdir(parents=True, exist_ok=True)
    if setting.previous:
        prepare_previous_stage(setting.previous, setting.dataset, executor=local_executor(request.workers))
    validation = FoldValidation(
        setting.dataset,
        fold_data(setting, setting.split.val),
        folder,
        setting.tiling,
        setting.device,
        # Fold "all" validates on its training cases; their probabilities are useless for choosing an ensemble.
        request.save_probabilities and request.fold != "all",
    )
    clock = None
    if folder.model.exists():
        logger.info("already trained; --seed and --iterations have no effect (use --restart)")
    else:
        # Delete the predictions of the previous model.
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
    """Return the clock that ends validation with the time budget, less the time of earlier runs; None without one."""
    limit = setting.time_limit
    if limit is None:
        return None
    found = load_state(setting.folder.resume_state)
    earlier = found[1]["progress"].get("seconds", 0.0) if found else 0.0
    return ValidationClock(limit, started + limit - earlier)


def _say_not_validated(summary: Summary, setting: Setting) -> None:
    request, count = setting.request, len(setting.split.val)
    trainer = f" --trainer {request.trainer}" if request.trainer != "supervised" else ""
    logger.warning(
        "validated %d of %d cases, because the time budget is over; to validate the rest, run: "
        "autoseg train-fold %s %s %s%s",
        count - len(summary.not_validated),
        count,
        request.workspace.root,
        request.configuration,
        request.fold,
        trainer,
    )


def _clear(folder: FoldFolder) -> None:
    """Remove all files of a fold from earlier runs, except the log, which the current run already writes."""
    for path in folder.root.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path != folder.log:
            path.unlink()


def seeded_network(configuration: Configuration, dataset: Dataset, *, seed: int) -> torch.nn.Module:
    """Build a configuration's network; the initial weights depend only on ``seed``."""
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
    """Train to the end and write the model; return the budget in its final state.

    ``started`` is the start of the command on the monotonic clock: a time budget counts from there.
    """
    request, configuration = setting.request, setting.configuration
    train_cases = fold_data(setting, setting.split.train)
    source = patch_source(setting, train_cases, "train")
    workers = loader_workers(request.workers, source)
    network = seeded_network(configuration, setting.dataset, seed=request.seed).to(setting.device)
    learn_channels(network, channel_layout(configuration, setting.dataset), _training_cases(setting))
    learner = build_learner(configuration, network, device=setting.device, trainer=request.trainer)
    validated = patch_source(setting, validation.cases, "validate")
    patches = patches_of(validated)
    interval = shortest_interval(patches, configuration.batch_size, learner)
    budget = _budget(setting, learner, source, validation, patches=patches, interval=interval, started=started)
    identity = setting.identity
    state = restore_progress(learner, setting.folder, identity) or TrainingState(
        TrainingProgress(budget.iterations, seconds=time.monotonic() - started)
    )
    if state.progress.step:
        state.progress.seconds += time.monotonic() - started
        logger.info("resuming after step %d of %d", state.progress.step, state.progress.total)
    _log_start(setting, train_cases, state, workers, budget)
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
        stream = batches(source, first=state.progress.step, device=setting.device, workers=workers)
        run_loop(learner, state, stream, settings)
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
    """Return the length of a training: a fixed number of steps, or a time budget."""
    if setting.steps is not None:
        return Budget(setting.steps)
    if setting.time_limit is None:
        raise ValueError("the plan has neither iterations nor a time budget")
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
    """Return a function that measures each class on patches of the validation cases."""
    return lambda: patch_scores(
        learner.network, source, patches=patches, dataset=setting.dataset, device=setting.device
    )


def _training_cases(setting: Setting) -> TrainingCases:
    folder = setting.request.workspace.data(setting.plan, setting.configuration)

    def read_labels(name: str) -> np.ndarray:
        return open_case(folder, name).labels[:]

    return TrainingCases(setting.split.train, read_labels, setting.dataset, setting.plan)


def _log_start(setting: Setting, cases: Cases, state: TrainingState, workers: int, budget: Budget) -> None:
    configuration = setting.configuration
    logger.info(
        "%s fold %s: %d cases %s, batch %d of %s, %d steps%s, %s in %s, %d loader workers",
        setting.request.configuration,
        setting.request.fold,
        len(cases),
        "in memory" if cases.in_memory else "on disk",
        configuration.batch_size,
        "×".join(map(str, configuration.patch_size)),
        state.progress.total,
        f" in {budget.time.seconds:.0f} s" if budget.time else "",
        setting.device,
        configuration.precision,
        workers,
    )
