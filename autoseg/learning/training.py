"""Training of a fold's network by gradient steps: from the streams of its trainer to the final weights."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from autoseg.data.dataset import Dataset
from autoseg.files.weights import save_tensors
from autoseg.learning.budget import SAFETY, Budget, plan_budget
from autoseg.learning.checkpoint import remove_state
from autoseg.learning.interrupts import stop_on_signals
from autoseg.learning.learner import Learner, build_learner
from autoseg.learning.loader import batches, loader_workers
from autoseg.learning.loop import LoopSettings, StepRandom, Validated, run_loop, shortest_interval
from autoseg.learning.monitor import Listener, plot_progress
from autoseg.learning.patch_score import PatchScore
from autoseg.learning.patches import PatchSource, Sources
from autoseg.learning.progress import TrainingProgress
from autoseg.learning.samples import fold_data, training_sources, validation_patches, validation_sources
from autoseg.learning.setting import Setting
from autoseg.learning.state import TrainingState, restore_progress
from autoseg.learning.trainer import FoldData, Grows, Measures, ScoresClasses, Task
from autoseg.learning.validation.cases import FoldValidation, patch_scores, patches_of
from autoseg.learning.validation.metrics import trainer_metrics
from autoseg.networks.build import build_network, learn_channels
from autoseg.plan.schema import Configuration
from autoseg.preprocessing.channel_layout import channel_layout
from autoseg.preprocessing.extra import TrainingCases
from autoseg.preprocessing.store import open_case
from autoseg.sampling.stream import Stream
from autoseg.workspace.paths import read_metrics

logger = logging.getLogger("autoseg.training")

DRAWN_BY_NETWORKS, DRAWN_BY_TRAINERS = 99, 98
"""Purposes of the random streams whose sample i is for the network, and for the trainer, in step i."""


def seeded_network(configuration: Configuration, dataset: Dataset, *, seed: int) -> torch.nn.Module:
    """Build a configuration's network; the initial weights depend only on ``seed``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_network(configuration, dataset)


def seeded_learner(setting: Setting, *, started: float) -> Learner:
    """Build the learner of a fold; all initial weights depend only on the seed and the training cases.

    ``started`` is the start of the command on the monotonic clock.
    """
    configuration, seed = setting.configuration, setting.request.seed
    network = seeded_network(configuration, setting.dataset, seed=seed).to(setting.device)
    learn_channels(network, channel_layout(configuration, setting.dataset), _training_cases(setting))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        task = Task(configuration, setting.dataset, network, setting.device, _fold_data(setting, started=started))
        return build_learner(task, setting.trainer)


def _fold_data(setting: Setting, *, started: float) -> FoldData:
    """Return the whole cases of a fold, for trainers that read them."""
    limit, split = setting.time_limit, setting.split
    return FoldData(
        train=setting.labelled(split.train),
        val=setting.labelled(split.val),
        open_cases=lambda names: fold_data(setting, tuple(names)),
        seed=(setting.request.seed, setting.fold_number),
        workers=setting.request.workers,
        seconds_left=lambda: math.inf if limit is None else limit * SAFETY - (time.monotonic() - started),
    )


@dataclass(frozen=True)
class _Validation:
    """What training validates on: patches of labelled cases, and the streams for the trainer's metrics."""

    patches: PatchSource | None
    """None if the network does not segment, or if its learning method measures classes itself."""
    streams: Sources | None
    """None if the trainer has no metrics."""

    @property
    def count(self) -> int:
        """Number of patches on which Dice is measured."""
        return 0 if self.patches is None else patches_of(self.patches)

    def measure(self, final: bool, *, learner: Learner, dataset: Dataset) -> Validated:
        """Measure each class on patches, and the metrics of the trainer."""
        classes: Mapping[str, PatchScore] = {}
        if isinstance(learner.method, ScoresClasses):
            classes = learner.method.class_scores()
        elif self.patches is not None:
            network, device = learner.network, learner.device
            classes = patch_scores(network, self.patches, patches=self.count, dataset=dataset, device=device)
        return Validated(classes, trainer_metrics(learner, self.streams, whole=final))


def train(setting: Setting, validation: FoldValidation, *, started: float, listener: Listener | None) -> Budget:
    """Train to the end and write the model; return the budget in its final state.

    ``started`` is the start of the command on the monotonic clock: a time budget counts from there. Raises
    :class:`autoseg.learning.loop.Interrupted` after saving the state if a signal requests a stop.
    """
    request = setting.request
    sources = training_sources(setting)
    workers = loader_workers(request.workers, sources)
    learner = seeded_learner(setting, started=started)
    validated = _validation(setting, learner, validation)
    interval = shortest_interval(validated.count, setting.configuration.batch_size, learner)
    budget = _budget(setting, learner, sources, validation, patches=validated.count, interval=interval, started=started)
    identity = setting.identity
    state = restore_progress(learner, setting.folder, identity) or TrainingState(
        TrainingProgress(budget.iterations, seconds=time.monotonic() - started, most=_most_steps(setting, learner))
    )
    if state.progress.step:
        state.progress.seconds += time.monotonic() - started
        logger.info("resuming after step %d of %d", state.progress.step, state.progress.total)
    _log_start(setting, sources, state, workers, budget)
    with stop_on_signals() as stop_requested, torch.random.fork_rng(devices=[]):
        settings = LoopSettings(
            folder=setting.folder,
            classes=setting.dataset.class_indices,
            validate=partial(validated.measure, learner=learner, dataset=setting.dataset),
            shortest_interval=interval,
            time=budget.time,
            stop_requested=stop_requested,
            checkpoint_seconds=request.checkpoint_seconds,
            identity=identity,
            random=_random(setting),
            listener=listener,
        )
        stream = batches(sources, first=state.progress.step, device=setting.device, workers=workers)
        run_loop(learner, state, stream, settings)
    _write(setting, learner)
    return budget


def _most_steps(setting: Setting, learner: Learner) -> int | None:
    """Return the largest number of steps with a time budget; None without a limit."""
    return learner.method.most_steps if setting.steps is None and isinstance(learner.method, Grows) else None


def _validation(setting: Setting, learner: Learner, validation: FoldValidation) -> _Validation:
    """Return what training validates on: no patches if the network does not segment, or its method needs none."""
    needs_patches = len(validation.cases) and not isinstance(learner.method, ScoresClasses)
    patches = validation_patches(setting, validation.cases) if needs_patches else None
    return _Validation(patches, validation_sources(setting) if isinstance(learner.method, Measures) else None)


def _random(setting: Setting) -> StepRandom:
    """Return the random numbers of the steps of a fold."""
    of_network = Stream(seed=setting.request.seed, fold=setting.fold_number, cases=1, purpose=DRAWN_BY_NETWORKS)
    of_trainer = replace(of_network, purpose=DRAWN_BY_TRAINERS)
    return StepRandom(lambda step: int(of_network.rng(step).integers(2**63)), of_trainer.rng)


def _write(setting: Setting, learner: Learner) -> None:
    """Write the learning curves, then the model, whose existence marks a complete training."""
    title = f"{setting.dataset.name}, {setting.request.configuration}, fold {setting.request.fold}"
    plot_progress(setting.folder.progress, read_metrics(setting.folder.metrics), title)
    save_tensors(setting.folder.model, learner.final_weights())
    remove_state(setting.folder.resume_state)


def _budget(
    setting: Setting,
    learner: Learner,
    sources: Sources,
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
        sources,
        validation,
        seconds=setting.time_limit,
        patches=patches,
        interval=interval,
        started=started,
    )


def _training_cases(setting: Setting) -> TrainingCases:
    folder = setting.request.workspace.data(setting.plan, setting.configuration)

    def read_labels(name: str) -> np.ndarray:
        return open_case(folder, name).labels[:]

    return TrainingCases(setting.labelled(setting.split.train), read_labels, setting.dataset, setting.plan)


def _log_start(setting: Setting, sources: Sources, state: TrainingState, workers: int, budget: Budget) -> None:
    configuration = setting.configuration
    in_memory = all(source.cases.in_memory for source in sources.streams.values())
    streams = ", ".join(
        f"{len(source.cases)} cases in batches of {source.batch_size}{f' ({name})' if len(sources.streams) > 1 else ''}"
        for name, source in sources.streams.items()
    )
    logger.info(
        "%s fold %s: %s, %s, patches of %s, %d steps%s, %s in %s, %d loader workers",
        setting.request.configuration,
        setting.request.fold,
        streams,
        "in memory" if in_memory else "on disk",
        "×".join(map(str, configuration.patch_size)),
        state.progress.total,
        f" in {budget.time.seconds:.0f} s" if budget.time else "",
        setting.device,
        configuration.precision,
        workers,
    )
