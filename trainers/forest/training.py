"""Training of a random forest instead of the plan's network: a baseline without deep learning."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch

from autoseg.errors import PlanError, TrainingError
from autoseg.files.weights import save_network
from autoseg.learning.checkpoint import load_state, remove_state, save_state
from autoseg.learning.interrupts import stop_on_signals
from autoseg.learning.loop import Interrupted, check_identity
from autoseg.learning.modes import learning_modes
from autoseg.learning.monitor import Listener, MetricsFile, Report, plot_progress
from autoseg.learning.samples import fold_data
from autoseg.learning.setting import Setting
from autoseg.networks.box_features import Boxes, draw_boxes
from autoseg.networks.decision_trees import Trees, joined, separated
from autoseg.networks.random_forest import forest_spec, forest_tensors
from autoseg.preprocessing.channel_layout import channel_layout
from autoseg.preprocessing.extra import ReadByNetwork
from autoseg.sampling.stream import ALL_FOLDS
from autoseg.system.execution import default_workers
from autoseg.system.memory import available_memory
from autoseg.trainers.forest.budget import ForestBudget, forest_clock, plan_forest, rehearse, tree_voxels, trees_wanted
from autoseg.trainers.forest.scores import Told, fitting_bias, mean_dice
from autoseg.trainers.forest.trees import grow_tree, in_bag
from autoseg.trainers.forest.voxels import draw_voxels
from autoseg.workspace.paths import read_metrics

logger = logging.getLogger("autoseg.training")

FEATURES = 400
"""Number of features: twice the number that each node tests. Prediction computes all of them for every voxel."""
VOXELS = 100_000
"""Number of voxels drawn from all training cases; their features take 160 MB."""
WATCHED = 20_000
"""Number of voxels drawn from the validation cases."""
SHARE_FOR_FEATURES = 0.2
"""Largest share of the free memory for features; scikit-learn and the cases need the rest."""


@dataclass
class Forest:
    """Current state of a forest's training."""

    drawn: int
    """Number of voxels to draw from all cases, limited by the memory at the start of training."""
    sample: int
    """Number of voxels on which each tree is grown."""
    trees: list[Trees] = field(default_factory=list)


@dataclass(frozen=True)
class Material:
    """Data for growing and evaluating trees."""

    boxes: Boxes
    learnt: Told
    """Out-of-bag predictions: those of each tree for the training voxels on which it was not grown."""
    watched: Told
    """Predictions for voxels of the validation cases."""
    classes: dict[str, tuple[int, ...]]
    regions: bool
    seed: tuple[int, int]

    @property
    def labels(self) -> int:
        """Number of labels, the background included."""
        return self.learnt.shares.shape[1]

    def tree_seed(self, number: int) -> tuple[int, ...]:
        """Return the seed of tree ``number``; it determines the whole tree."""
        return (*self.seed, 3, number)

    def judge(self, number: int, tree: Trees, sample: int) -> None:
        """Add a tree's predictions for its out-of-bag voxels and for the validation voxels."""
        drawn = in_bag(self.learnt.voxels, sample=sample, seed=self.tree_seed(number))
        self.learnt.add(tree, of=~drawn)
        self.watched.add(tree)

    def bias(self) -> torch.Tensor:
        """Return the correction of the logits with the best Dice on out-of-bag voxels."""
        return fitting_bias(self.learnt, tuple(self.classes.values()), regions=self.regions)


@learning_modes.register("random_forest")
class RandomForestTrainer:
    """A random forest of 50 trees on context features, with the same cases and folds (Kamnitsas 2019, 3.4.1).

    From the plan's configuration, it uses the preprocessed data, the spacing, and the previous stage, if any.
    """

    @staticmethod
    def train(setting: Setting, *, started: float, listener: Listener | None) -> None:
        """Grow the missing trees and write the model."""
        _check(setting)
        found = _restored(setting)
        forest, earlier = found or (None, 0.0)
        clock = forest_clock(setting, earlier=earlier, started=started)
        drawn = forest.drawn if forest else min(VOXELS, _room())
        material = _material(setting, drawn)
        costs = rehearse(setting, material.boxes, material.learnt.voxels, clock)
        if forest is None:
            count, trees = len(material.learnt.voxels.labels), trees_wanted(setting)
            forest = Forest(drawn, tree_voxels(count, costs, clock, trees=trees, threads=_threads(setting)))
        for number, tree in enumerate(forest.trees):
            material.judge(number, tree, forest.sample)
        budget = plan_forest(setting, costs, clock, sample=forest.sample, first=len(forest.trees))
        _log_start(setting, material, forest)
        with stop_on_signals() as stop_requested:
            for report in _grow(setting, material, forest, budget):
                if listener:
                    listener(report)
                if stop_requested():
                    _save(setting, forest, budget)
                    raise Interrupted
        title = f"{setting.dataset.name}, {setting.request.configuration}, fold {setting.request.fold}, random forest"
        plot_progress(setting.folder.progress, read_metrics(setting.folder.metrics), title)
        _write(setting, material, joined(forest.trees))
        remove_state(setting.folder.resume_state)


def _check(setting: Setting) -> None:
    """Raise :class:`PlanError` for inputs that a random forest does not support."""
    for computed in channel_layout(setting.configuration, setting.dataset).computed:
        if isinstance(computed.kind, ReadByNetwork):
            field = f"configurations.{setting.request.configuration}.extra_channels.{computed.name}"
            raise PlanError(
                f"{setting.request.workspace.plan_file}: field '{field}', found a channel that needs its own network "
                "layer, expected none for trainer 'random_forest'; train with --trainer supervised"
            )
    if setting.dataset.annotated:
        case = next(iter(setting.dataset.annotated))
        raise PlanError(
            f"{setting.request.workspace.dataset_file}: field 'annotated', found case '{case}' with only some classes "
            "annotated, expected all in every case for trainer 'random_forest'; train with --trainer supervised"
        )


def _material(setting: Setting, drawn: int) -> Material:
    """Draw the feature boxes and the voxels of training and validation cases."""
    request, configuration, dataset = setting.request, setting.configuration, setting.dataset
    fold = request.fold if isinstance(request.fold, int) else ALL_FOLDS
    seed, labels = (request.seed, fold), len(dataset.values) + 1
    boxes = draw_boxes(
        FEATURES,
        channels=channel_layout(configuration, dataset).inputs,
        spacing=configuration.patch_spacing,
        rng=np.random.default_rng([*seed, 2]),
    )

    def told(names: tuple[str, ...], count: int, purpose: int) -> Told:
        voxels = draw_voxels(
            fold_data(setting, names),
            boxes,
            count=count,
            seed=(*seed, purpose),
            dimension=configuration.dimension,
            previous_labels=setting.previous_labels,
        )
        return Told.nothing(voxels, labels)

    learnt = told(setting.split.train, drawn, 0)
    if not len(learnt.voxels.labels):
        raise TrainingError("random forest: all voxels of the training cases are ignored; label some voxels")
    watched = told(setting.split.val, min(WATCHED, drawn), 1)
    return Material(boxes, learnt, watched, dataset.class_indices, bool(dataset.regions), seed)


def _grow(setting: Setting, material: Material, forest: Forest, budget: ForestBudget) -> Iterator[Report]:
    """Grow trees within the budget, several at a time, and yield a report after each group of trees."""
    metrics = MetricsFile(setting.folder.metrics, step=len(forest.trees))
    threads = _threads(setting)
    saved_at = time.monotonic()

    def tree(number: int) -> Trees:
        seed = material.tree_seed(number)
        return grow_tree(material.learnt.voxels, labels=material.labels, sample=forest.sample, seed=seed)

    with ThreadPoolExecutor(threads) as pool:
        while len(forest.trees) < (total := budget.trees(len(forest.trees))):
            first = len(forest.trees)
            for number, grown in enumerate(pool.map(tree, range(first, min(first + threads, total))), start=first):
                material.judge(number, grown, forest.sample)
                forest.trees.append(grown)
                line = _line(material, number + 1, total, budget.clock.spent())
                metrics.append(line)
            yield _report(line, budget)
            if time.monotonic() - saved_at > setting.request.checkpoint_seconds:
                _save(setting, forest, budget)
                saved_at = time.monotonic()


def _threads(setting: Setting) -> int:
    return max(1, default_workers() if setting.request.workers is None else setting.request.workers)


def _room() -> int:
    """Return the number of voxels whose features fit into memory."""
    return int(available_memory() * SHARE_FOR_FEATURES / (torch.float32.itemsize * FEATURES))


def _log_start(setting: Setting, material: Material, forest: Forest) -> None:
    if forest.trees:
        logger.info("resuming after tree %d", len(forest.trees))
    logger.info(
        "%s fold %s: random forest, %d features of %d voxels of %d cases, %d threads",
        setting.request.configuration,
        setting.request.fold,
        len(material.boxes),
        len(material.learnt.voxels.labels),
        len(setting.split.train),
        _threads(setting),
    )


def _line(material: Material, step: int, total: int, seconds: float) -> dict[str, Any]:
    """Return a line of the metrics file, as the training loop writes for networks; the loss is on out-of-bag voxels."""
    classes = tuple(material.classes.values())
    scores = material.watched.scores(material.bias(), classes, regions=material.regions)
    return {
        "step": step,
        "total": total,
        "loss": material.learnt.cross_entropy(),
        "validation_dice": mean_dice(scores),
        "class_dice": {name: score.dice for name, score in zip(material.classes, scores, strict=True)},
        "class_recall": {name: score.recall for name, score in zip(material.classes, scores, strict=True)},
        "seconds": round(seconds, 1),
    }


def _report(line: Mapping[str, Any], budget: ForestBudget) -> Report:
    each = budget.seconds_each(line["step"])
    left = (line["total"] - line["step"]) * each
    return Report(line["step"], line["total"], line["loss"], 0.0, line["validation_dice"], 1 / max(each, 1e-9), left)


def _write(setting: Setting, material: Material, trees: Trees) -> None:
    """Write the forest as a model file that contains its network spec."""
    regions = list(material.classes.values()) if material.regions else None
    spec = forest_spec(trees, material.boxes, regions)
    save_network(setting.folder.model, forest_tensors(trees, material.boxes, material.bias()), spec)


def _save(setting: Setting, forest: Forest, budget: ForestBudget) -> None:
    """Write a checkpoint without features and voxels; they are drawn again from the seed."""
    seconds = budget.clock.spent()
    progress = {"step": len(forest.trees), "drawn": forest.drawn, "sample": forest.sample, "seconds": seconds}
    trees = joined(forest.trees)
    tensors = {item.name: getattr(trees, item.name) for item in fields(Trees)}
    save_state(setting.folder.resume_state, tensors, {"progress": progress, "identity": setting.identity})


def _restored(setting: Setting) -> tuple[Forest, float] | None:
    """Return the forest of the last checkpoint and the seconds spent until then; None without a checkpoint.

    Raises :class:`TrainingError` if the settings of the checkpoint differ.
    """
    found = load_state(setting.folder.resume_state)
    if found is None:
        return None
    tensors, numbers = found
    check_identity(setting.folder.resume_state, numbers["identity"], setting.identity)
    progress = numbers["progress"]
    return Forest(progress["drawn"], progress["sample"], separated(Trees(**tensors))), progress["seconds"]
