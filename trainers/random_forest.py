"""Random forest: a baseline without deep learning. Each step grows one tree."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from annotated_types import Ge, Le
from torch import nn

from autoseg.data.dataset import Dataset
from autoseg.errors import PlanError
from autoseg.learning.patch_score import PatchScore
from autoseg.learning.step_cost import BatchCost
from autoseg.learning.streams import StreamPlan
from autoseg.learning.trainer import NETWORK, Batches, OptimizerPlan, Step, Task, trainers
from autoseg.networks.box_features import draw_boxes
from autoseg.networks.decision_trees import Trees, joined, separated
from autoseg.networks.input_layers import WithInputLayer
from autoseg.networks.random_forest import RandomForest
from autoseg.plan.schema import Configuration
from autoseg.preprocessing.channel_layout import channel_layout
from autoseg.preprocessing.extra import ReadByNetwork
from autoseg.system.execution import default_workers
from autoseg.trainers.forest.material import Material, blank_material, fold_material, room_for
from autoseg.trainers.forest.scores import fitting_bias
from autoseg.trainers.forest.time import voxels_in_time
from autoseg.trainers.forest.trees import grow_tree

CHOICES = "choices"
SCIKIT_LEARN = 80 * 1024**2
"""Bytes of scikit-learn and of what it imports."""
Count = Annotated[int, Ge(1), Le(10**9)]


@trainers.register("random_forest")
@dataclass(frozen=True)
class RandomForestTrainer:
    """A random forest of 50 trees on context features, with the same cases and folds (Kamnitsas 2019, 3.4.1).

    From the plan's configuration, it uses the preprocessed data, the spacing, and the previous stage, if any.
    """

    trees: Count = 50
    """Largest number of trees with a time budget."""
    voxels: Count = 100_000
    """Number of voxels drawn from all training cases; the features of this many take 160 MB."""
    watched: Count = 20_000
    """Number of voxels drawn from the validation cases."""
    planner: ClassVar[str] = "random_forest"

    def streams(self, configuration: Configuration, dataset: Dataset) -> Mapping[str, StreamPlan]:
        """Return no streams: the voxels of all trees are drawn once, from whole cases."""
        for computed in channel_layout(configuration, dataset).computed:
            if isinstance(computed.kind, ReadByNetwork):
                raise PlanError(
                    f"trainer 'random_forest': found the extra channel '{computed.name}', which needs its own network "
                    "layer, expected none; remove it, or plan with --trainer supervised"
                )
        if dataset.annotated:
            case = next(iter(dataset.annotated))
            raise PlanError(
                f"trainer 'random_forest': field 'annotated' of dataset.json, found case '{case}' with only some "
                "classes annotated, expected all in every case; plan with --trainer supervised"
            )
        return {}

    def start(self, task: Task) -> GrowingForest:
        """Return the learning method for a forest."""
        return GrowingForest(self, task)

    def cost(self, configuration: Configuration, dataset: Dataset) -> BatchCost:
        """Return the memory of the features, and of their copies for the trees that grow at the same time.

        Raises :class:`PlanError` if the network of the plan is no forest.
        """
        name = configuration.network.get("name")
        if name != "random_forest":
            raise _not_a_forest(str(name))
        features = int(configuration.network.get("features", 400))
        row = torch.float32.itemsize * features
        # A tree is grown on 1 − 1/e of the voxels, as it draws them with replacement.
        copies = 0.64 * (default_workers() or 1)
        fixed = SCIKIT_LEARN + int(row * (self.voxels * (1 + copies) + self.watched))
        # The memory does not depend on the batch size; a byte a sample keeps the largest batch defined.
        return BatchCost(((fixed, 1),), 0, 0, fixed_patches=0, sample_patches=0.0)


class Choices(nn.Module):
    """What the first step decides for all trees; 0 means not decided yet."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("drawn", torch.zeros((), dtype=torch.int64))
        self.register_buffer("sample", torch.zeros((), dtype=torch.int64))

    @property
    def values(self) -> tuple[int, int]:
        """Number of voxels drawn from all cases, and number of voxels on which each tree is grown."""
        return int(self.get_buffer("drawn")), int(self.get_buffer("sample"))

    def set(self, drawn: int, sample: int) -> None:
        """Decide both numbers."""
        self.get_buffer("drawn").fill_(drawn)
        self.get_buffer("sample").fill_(sample)


class GrowingForest:
    """A forest that grows by one tree in each step; tree t depends only on seed, fold, t and the drawn voxels."""

    interval = 5

    def __init__(self, trainer: RandomForestTrainer, task: Task) -> None:
        self._trainer, self._task = trainer, task
        self._forest, self._choices = _forest(task.network), Choices()
        self.modules: Mapping[str, nn.Module] = {NETWORK: task.network, CHOICES: self._choices}
        self.optimizers: Mapping[str, OptimizerPlan] = {}
        self.most_steps = trainer.trees
        self._seed = task.fold.seed if task.fold else (0, 0)
        workers = task.fold.workers if task.fold else None
        self._threads = max(1, default_workers() if workers is None else workers)
        self._pool = ThreadPoolExecutor(self._threads)
        self._growing: dict[int, Future[Trees]] = {}
        self._material: Material | None = None
        self._judged, self._sample = 0, 0
        self._draw_boxes()

    def _draw_boxes(self) -> None:
        configuration, forest = self._task.configuration, self._forest
        boxes = draw_boxes(
            len(forest.boxes(torch.device("cpu"))),
            channels=forest.in_channels,
            spacing=configuration.patch_spacing,
            rng=np.random.default_rng([*self._seed, 2]),
        )
        forest.set_forest(forest.trees(torch.device("cpu")), boxes, forest.get_buffer("bias"))

    def step(self, batches: Batches, step: Step) -> dict[str, torch.Tensor]:
        """Grow one tree; return the cross-entropy on out-of-bag voxels."""
        material = self._prepared()
        trees = self._trees()
        self._judge(material, trees)
        number = len(trees)
        # A rehearsal repeats step 0: with trees grown ahead, most of its steps would take no time.
        tree = self._grown(number, material, together=self._threads if step.number else 1)
        self._judge(material, [*trees, tree])
        self._forest.set_forest(joined([*trees, tree]), self._forest.boxes(torch.device("cpu")), self._bias(material))
        return {"cross_entropy": torch.tensor(material.learnt.cross_entropy())}

    def class_scores(self) -> dict[str, PatchScore]:
        """Measure each class on voxels of the validation cases."""
        material, dataset = self._prepared(), self._task.dataset
        self._judge(material, self._trees())
        classes = dataset.class_indices
        bias = self._forest.get_buffer("bias").cpu()
        scores = material.watched.scores(bias, tuple(classes.values()), regions=bool(dataset.regions))
        return dict(zip(classes, scores, strict=True))

    def prepare(self) -> None:
        """Draw the voxels and compute their features."""
        self._prepared()

    def grown(self) -> nn.Module:
        """Return a forest of as many trees as the last step makes; call it after a step."""
        tree = self._grown(0, self._prepared(), together=1)
        forest = RandomForest(
            in_channels=self._forest.in_channels,
            outputs=self._task.dataset.outputs,
            dimension=self._task.configuration.dimension,
            regions=self._forest.regions,
        )
        forest.set_forest(
            joined([tree] * self.most_steps),
            self._forest.boxes(torch.device("cpu")),
            self._forest.get_buffer("bias").cpu(),
        )
        return forest

    def _trees(self) -> list[Trees]:
        trees = self._forest.trees(torch.device("cpu"))
        return separated(trees) if len(trees) else []

    def _grown(self, number: int, material: Material, *, together: int) -> Trees:
        """Return tree ``number``; it and the following trees, ``together`` in all, grow at the same time."""
        sample = self._choices.values[1]
        for ahead in range(number, number + together):
            if ahead not in self._growing:
                self._growing[ahead] = self._pool.submit(
                    grow_tree,
                    material.learnt.voxels,
                    labels=material.labels,
                    sample=sample,
                    seed=material.tree_seed(ahead),
                )
        # Earlier trees are part of the forest; a rehearsal asks for the first ones again.
        self._growing = {key: tree for key, tree in self._growing.items() if key >= number or key == 0}
        return self._growing[number].result()

    def _judge(self, material: Material, trees: list[Trees]) -> None:
        """Add the predictions of trees that are not judged yet, such as those of a checkpoint."""
        if self._judged > len(trees):
            # A rehearsal was undone.
            material.forget()
            self._judged = 0
        for number in range(self._judged, len(trees)):
            material.judge(number, trees[number], self._choices.values[1])
        self._judged = len(trees)

    def _bias(self, material: Material) -> torch.Tensor:
        """Return the correction of the logits with the best Dice on out-of-bag voxels."""
        classes = tuple(self._task.dataset.class_indices.values())
        return fitting_bias(material.learnt, classes, regions=bool(self._task.dataset.regions))

    def _prepared(self) -> Material:
        """Return the voxels and their features; the first step decides how many, a resumed training repeats that."""
        drawn, sample = self._choices.values
        if not drawn:
            drawn = min(self._trainer.voxels, room_for(len(self._forest.boxes(torch.device("cpu")))))
        if self._material is None or self._material.drawn != drawn:
            self._material = self._drawn(drawn)
            self._judged, self._growing = 0, {}
        if not sample:
            # A rehearsal is undone, but its choice stays: the trees that it has grown are used again.
            self._sample = self._sample or self._affordable_sample(self._material)
            self._choices.set(drawn, self._sample)
        return self._material

    def _affordable_sample(self, material: Material) -> int:
        return voxels_in_time(self._task, material, trees=self.most_steps, threads=self._threads)

    def _drawn(self, drawn: int) -> Material:
        boxes = self._forest.boxes(torch.device("cpu"))
        watched = min(self._trainer.watched, drawn)
        if self._task.fold is None:
            return blank_material(boxes, labels=self._forest.labels, drawn=drawn, watched=watched)
        return fold_material(self._task, boxes, labels=self._forest.labels, drawn=drawn, watched=watched)


def _forest(network: nn.Module) -> RandomForest:
    """Return the forest of a network, behind the layers of its computed channels."""
    while isinstance(network, WithInputLayer):
        network = network.network
    if not isinstance(network, RandomForest):
        raise _not_a_forest(type(network).__name__)
    return network


def _not_a_forest(network: str) -> PlanError:
    return PlanError(
        f"trainer 'random_forest': found the network '{network}', expected 'random_forest'; plan with --planner "
        "random_forest"
    )
