"""Interface and registry of trainers: a trainer is one way to learn, and a component of the plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import nn

from autoseg.data.dataset import Dataset
from autoseg.errors import PlanError
from autoseg.evaluation.summary import SEGMENTATION
from autoseg.learning.batch import Batch
from autoseg.learning.cases import Cases
from autoseg.learning.patch_score import PatchScore
from autoseg.learning.step_cost import BatchCost
from autoseg.learning.streams import StreamPlan
from autoseg.plan.schema import Configuration
from autoseg.registry import Component, Registry

trainers: Registry = Registry("trainers", modules=("autoseg.trainers.supervised", "autoseg.trainers.random_forest"))

NETWORK = "network"
"""Name of the module that is validated and exported; all other modules are only part of checkpoints."""


@dataclass(frozen=True)
class FoldData:
    """Data of a fold, for a trainer that reads whole cases in place of streams."""

    train: tuple[str, ...]
    """Labelled training cases."""
    val: tuple[str, ...]
    """Labelled validation cases."""
    open_cases: Callable[[Sequence[str]], Cases]
    """Opens preprocessed cases by name."""
    seed: tuple[int, int]
    """Seed of the training, and number of the fold."""
    workers: int | None
    """Number of workers that the user asked for; None: no wish."""
    seconds_left: Callable[[], float]
    """Returns the seconds left of the time budget; infinity without one."""


@dataclass(frozen=True)
class Task:
    """What a trainer learns: a network on the data of a configuration."""

    configuration: Configuration
    dataset: Dataset
    network: nn.Module
    """The network of the plan, with its initial weights."""
    device: torch.device
    fold: FoldData | None = None
    """None if a step is only counted or measured: it then runs on made data of the same size."""


@dataclass(frozen=True)
class Step:
    """One training step. All its random numbers depend only on the seed, the fold and its number."""

    number: int
    """Number of finished steps; 0 in the first step."""
    fraction: float
    """Finished part of the training, from 0 to 1."""
    rng: np.random.Generator
    """Generator for the trainer's own random numbers. PyTorch's global generator is seeded in the same way."""


@dataclass(frozen=True)
class OptimizerPlan:
    """An optimizer with the modules whose weights it changes."""

    modules: tuple[str, ...]
    optimizer: Component
    schedule: Component
    gradient_clip: float
    """Largest norm of the gradients of these modules."""


Batches = Mapping[str, Batch]
"""One batch of each stream, by the name of the stream."""


class LearningMethod(Protocol):
    """A trainer at work on one network."""

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """Modules by name. :data:`NETWORK` is validated and exported; checkpoints contain all."""
        ...

    @property
    def optimizers(self) -> Mapping[str, OptimizerPlan]:
        """Optimizers by name. Each weight that requires a gradient belongs to exactly one of them."""
        ...

    def step(self, batches: Batches, step: Step) -> Mapping[str, torch.Tensor]:
        """Return the losses by name, scalars; the training loop minimizes their sum."""
        ...


@runtime_checkable
class FollowsSteps(Protocol):
    """A learning method with work after each step, such as a teacher that follows the weights of its student."""

    def after_step(self, step: Step) -> None:
        """Update modules that no optimizer changes; the weights of ``step`` are already changed."""
        ...


@runtime_checkable
class Measures(Protocol):
    """A learning method with metrics of its own."""

    def metrics(self, batches: Iterable[Batches]) -> Mapping[str, float]:
        """Return metrics by name, from batches of the validation cases, which are not augmented.

        Modules are in evaluation mode, without gradients, and the network has the weights that would be exported. In a
        trainer whose task is not segmentation, the first metric selects the best weights: higher is better.
        """
        ...


@runtime_checkable
class ScoresClasses(Protocol):
    """A learning method that measures the quality of each class itself, in place of predictions of patches."""

    interval: int
    """Number of steps between validations."""

    def class_scores(self) -> Mapping[str, PatchScore]:
        """Return the quality of each class on the validation cases."""
        ...


@runtime_checkable
class Grows(Protocol):
    """A learning method whose network grows with each step."""

    most_steps: int
    """Largest number of steps with a time budget."""

    def prepare(self) -> None:
        """Do what the first step does once, so that it does not count in the time of a step."""
        ...

    def grown(self) -> nn.Module:
        """Return a network as large as after the last step, to measure the time of its predictions."""
        ...


@runtime_checkable
class CountsCost(Protocol):
    """A trainer that counts the memory of its step itself, because it does not compute with PyTorch."""

    def cost(self, configuration: Configuration, dataset: Dataset) -> BatchCost:
        """Return the memory of a step."""
        ...


class Trainer(Protocol):
    """A way to learn. Its constructor takes the arguments of the plan.

    Optional class attributes: ``task`` names what its network does (default: segmentation); cross-validation measures,
    compares and combines only networks that segment. ``planner`` names the planner that is used unless the user names
    one.
    """

    def streams(self, configuration: Configuration, dataset: Dataset) -> Mapping[str, StreamPlan]:
        """Return the streams of samples by name. Raises :class:`PlanError` for data that the dataset lacks."""
        ...

    def start(self, task: Task) -> LearningMethod:
        """Return the learning method for a network. Random initial weights come from PyTorch's generator."""
        ...


def build_trainer(configuration: Configuration) -> Trainer:
    """Build the trainer of a configuration; raise :class:`PlanError` for an unknown name or argument."""
    trainer: Trainer = trainers.build(configuration.trainer)
    return trainer


def task_of(trainer: Trainer) -> str:
    """Return what the network of a trainer does."""
    return str(getattr(trainer, "task", SEGMENTATION))


def planned_optimizer(configuration: Configuration, *modules: str) -> OptimizerPlan:
    """Return the optimizer of the plan for ``modules``, by default for the network."""
    training = configuration.training
    return OptimizerPlan(modules or (NETWORK,), training.optimizer, training.schedule, training.gradient_clip)


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Treat the weights of ``modules`` as constants in the block: losses that are computed in it do not change them.

    Gradients still flow through the modules to their inputs, as an adversarial loss needs.
    """
    thawed = [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]
    for parameter in thawed:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in thawed:
            parameter.requires_grad_(True)


def owners(method: LearningMethod, trainer: str) -> dict[str, list[nn.Parameter]]:
    """Return the weights of each optimizer; raise :class:`PlanError` if one belongs to no optimizer, or to two.

    ``trainer`` is the name of the trainer, for messages.
    """
    names = {
        parameter: f"{module}.{name}"
        for module, owner in method.modules.items()
        for name, parameter in owner.named_parameters()
    }
    claimed: dict[nn.Parameter, str] = {}
    found: dict[str, list[nn.Parameter]] = {}
    for name, plan in method.optimizers.items():
        unknown = [module for module in plan.modules if module not in method.modules]
        if unknown:
            raise PlanError(
                f"trainer '{trainer}', optimizer '{name}': found the module '{unknown[0]}', expected one of: "
                f"{', '.join(method.modules)}"
            )
        found[name] = [parameter for module in plan.modules for parameter in method.modules[module].parameters()]
        for parameter in found[name]:
            if parameter in claimed:
                raise PlanError(
                    f"trainer '{trainer}': optimizers '{claimed[parameter]}' and '{name}' both change the weight "
                    f"'{names[parameter]}', expected one of them; give each module to one optimizer"
                )
            claimed[parameter] = name
    free = next((names[p] for p in names if p.requires_grad and p not in claimed), None)
    if free is not None:
        raise PlanError(
            f"trainer '{trainer}': no optimizer changes the weight '{free}', expected one; give its module to an "
            "optimizer, or call requires_grad_(False) on it"
        )
    return found
