"""Inputs of a fold's training, read and checked before any file is written."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from autoseg.data.dataset import Dataset
from autoseg.data.kinds import labelled
from autoseg.data.splits import Fold, fold_cases
from autoseg.errors import PlanError
from autoseg.evaluation.summary import SEGMENTATION
from autoseg.files.records import to_plain
from autoseg.inference.members import tiling_settings
from autoseg.inference.sliding_window import TilingSettings
from autoseg.learning.plan_check import check_configuration
from autoseg.learning.streams import StreamPlan, check_streams, stream_cases
from autoseg.learning.trainer import Trainer, build_trainer, task_of
from autoseg.plan.schema import Configuration, Plan
from autoseg.preprocessing.declared import check_plan
from autoseg.preprocessing.mirrored_labels import MirroredLabels, plan_mirrored_labels
from autoseg.preprocessing.previous_stage import PreviousStage, digest, find_previous_stage
from autoseg.sampling.stream import ALL_FOLDS
from autoseg.system.devices import choose_device, computes_bfloat16
from autoseg.workspace.paths import FoldFolder, Workspace

logger = logging.getLogger("autoseg.training")

CHECKPOINT_SECONDS = 120.0
"""Seconds between checkpoints; writing one takes about a second."""


@dataclass(frozen=True)
class FoldRequest:
    """Fold to train, with options that override the plan."""

    workspace: Workspace
    configuration: str
    fold: int | str
    device: str = "auto"
    iterations: int | None = None
    time_budget: float | None = None
    workers: int | None = None
    seed: int = 0
    restart: bool = False
    save_probabilities: bool = True
    """Save the probabilities of the validation cases; otherwise ``autoseg choose`` computes them again."""
    checkpoint_seconds: float = CHECKPOINT_SECONDS


@dataclass(frozen=True)
class Setting:
    """Inputs of a fold's training."""

    request: FoldRequest
    dataset: Dataset
    plan: Plan
    configuration: Configuration
    split: Fold
    """Cases of the fold, with and without label maps."""
    device: torch.device
    folder: FoldFolder
    previous: PreviousStage | None
    trainer: Trainer

    @cached_property
    def streams(self) -> Mapping[str, StreamPlan]:
        """Streams of the trainer."""
        return self.trainer.streams(self.configuration, self.dataset)

    @property
    def fold_number(self) -> int:
        """Number of the fold in seeds."""
        return self.request.fold if isinstance(self.request.fold, int) else ALL_FOLDS

    @property
    def segments(self) -> bool:
        """Whether the network segments, so that whole cases are validated."""
        return task_of(self.trainer) == SEGMENTATION

    def labelled(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the cases among ``names`` that have a label map."""
        return labelled(self.dataset, names)

    @property
    def tiling(self) -> TilingSettings:
        """Tiling of validation cases: with mirroring, as for new images."""
        source = self.request.workspace.plan_file
        return tiling_settings(self.plan, self.dataset, self.configuration, mirror=True, source=source)

    @property
    def steps(self) -> int | None:
        """Number of steps; None with a time budget. The request overrides the plan; steps override a time budget."""
        if self.request.iterations is not None or self.request.time_budget is not None:
            return self.request.iterations
        return self.configuration.training.iterations

    @property
    def time_limit(self) -> float | None:
        """Seconds for the whole fold, including validation; None if the number of steps is fixed."""
        if self.steps is not None:
            return None
        asked = self.request.time_budget
        return asked if asked is not None else self.configuration.training.time_budget

    @property
    def mirrored_labels(self) -> MirroredLabels | None:
        """Labels to swap in patches that are mirrored left to right."""
        return plan_mirrored_labels(
            self.plan, self.configuration, self.dataset, source=self.request.workspace.plan_file
        )

    @property
    def identity(self) -> dict[str, object]:
        """Settings that must stay the same when a training is resumed."""
        request, previous = self.request, self.previous
        return {
            "seed": request.seed,
            "iterations": request.iterations,
            "configuration": to_plain(self.configuration),
            "train": self._learned(),
            **({"previous_stage": digest(previous.folder, self.labelled(self.split.train))} if previous else {}),
        }

    def _learned(self) -> list[str]:
        """Return the training cases that the trainer uses: the labelled ones, and those of its streams."""
        used = {*self.labelled(self.split.train)}
        for stream in self.streams.values():
            used |= {*stream_cases(stream, self.dataset, self.split.train)}
        return [name for name in self.split.train if name in used]


def read_setting(request: FoldRequest) -> Setting:
    """Read the inputs of a request and check that it can be trained; raise :class:`PlanError` if not."""
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
        # This is only a warning: the plan stays in effect.
        logger.warning(
            "%s: field 'configurations.%s.precision', found bfloat16, but this %s has no bfloat16 instructions: a step "
            "takes about six times as long as in float32; set float32, or plan again with --replan",
            workspace.plan_file,
            request.configuration,
            device,
        )
    folder = workspace.fold(request.configuration, request.fold, plan)
    previous = find_previous_stage(workspace, plan, request.configuration, fold=request.fold)
    setting = Setting(
        request, dataset, plan, configuration, split, device, folder, previous, build_trainer(configuration)
    )
    check_streams(configuration.trainer_name, setting.streams, dataset)
    return setting
