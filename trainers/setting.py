"""All that a fold's training is made from, read and checked before anything is written."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch

from autoseg.dataset import Dataset
from autoseg.errors import PlanError
from autoseg.inference.members import window_of
from autoseg.inference.sliding_window import Window
from autoseg.plan import Configuration, Plan
from autoseg.planners.check import check_configuration
from autoseg.planners.resources import choose_device, computes_bfloat16
from autoseg.preprocessing.normalization.declared import check_plan
from autoseg.preprocessing.previous_stage import PreviousStage, digest, find_previous_stage
from autoseg.records import to_plain
from autoseg.splits import Fold, fold_cases
from autoseg.swapping import Swapping, plan_swapping
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
class Setting:
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
    def steps(self) -> int | None:
        """Number of steps, where one decides: what is asked for comes before what the plan says, steps before time."""
        if self.request.iterations is not None or self.request.time_budget is not None:
            return self.request.iterations
        return self.configuration.training.iterations

    @property
    def time_limit(self) -> float | None:
        """Seconds of the whole fold, validation included; None where a number of steps decides."""
        if self.steps is not None:
            return None
        asked = self.request.time_budget
        return asked if asked is not None else self.configuration.training.time_budget

    @property
    def swapping(self) -> Swapping | None:
        """What changes places in patches that are mirrored across the body."""
        return plan_swapping(self.plan, self.configuration, self.dataset, source=self.request.workspace.plan_file)

    @property
    def previous_labels(self) -> int:
        """Number of labels that a previous stage tells apart, each a further input channel."""
        return len(self.dataset.values) if self.previous else 0

    @property
    def identity(self) -> dict[str, object]:
        """What must not change between the runs that train one fold together."""
        request, previous = self.request, self.previous
        return {
            "seed": request.seed,
            "iterations": request.iterations,
            "configuration": to_plain(self.configuration),
            "train": list(self.split.train),
            **({"previous_stage": digest(previous.folder, self.split.train)} if previous else {}),
        }


def read_setting(request: FoldRequest) -> Setting:
    """Read what a request names, and check that it can be trained; raise :class:`PlanError` where it cannot."""
    workspace = request.workspace
    dataset, plan = workspace.dataset(), workspace.plan()
    check_plan(plan, dataset, workspace.plan_file)
    configuration = plan.configuration(request.configuration)
    try:
        check_configuration(request.configuration, configuration, dataset, plan.memory)
    except PlanError as error:
        raise PlanError(f"{workspace.plan_file}: {error}") from None
    split = fold_cases(workspace.splits(), request.fold)
    device = torch.device(choose_device(request.device))
    if configuration.precision == "bfloat16" and not computes_bfloat16(str(device)):
        # The plan is obeyed all the same.
        logger.warning(
            "%s: field 'configurations.%s.precision', found bfloat16, for which this %s has no instructions: a step "
            "takes about six times as long as in float32; set float32, or plan again with --replan",
            workspace.plan_file,
            request.configuration,
            device,
        )
    folder = workspace.fold(request.configuration, request.fold, request.trainer)
    previous = find_previous_stage(workspace, plan, request.configuration, fold=request.fold, trainer=request.trainer)
    return Setting(request, dataset, plan, configuration, split, device, folder, previous)
