"""State of a fold's training, and its checkpoints: all modules, optimizers, schedules and numbers of the loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from autoseg.errors import TrainingError, WeightsError
from autoseg.files.weights import fill
from autoseg.learning.checkpoint import load_state, optimizer_tensors, restore_optimizer, save_state
from autoseg.learning.learner import Learner
from autoseg.learning.plateau import WatchingSchedule
from autoseg.learning.progress import TrainingProgress
from autoseg.workspace.paths import FoldFolder


@dataclass
class TrainingState:
    """State of a fold's training, without the weights."""

    progress: TrainingProgress
    smoothed_score: float | None = None
    best_score: float | None = None
    last_dice: float | None = None
    losses: list[dict[str, float]] = field(default_factory=list)
    """Losses of the steps since the last line of the metrics file."""


def save_progress(learner: Learner, state: TrainingState, folder: FoldFolder, identity: Mapping[str, Any]) -> None:
    """Write a checkpoint; a training resumed from it continues bit for bit."""
    tensors: dict[str, torch.Tensor] = {}
    for name, module in learner.method.modules.items():
        tensors |= _under(f"modules.{name}", module.state_dict())
    for name, found in learner.optimizers.items():
        tensors |= _under(f"optimizers.{name}", optimizer_tensors(found.optimizer))
    if learner.average:
        tensors |= _under("average", learner.average.tensors)
    numbers = {
        "progress": state.progress.to_plain(),
        "smoothed_score": state.smoothed_score,
        "best_score": state.best_score,
        "last_dice": state.last_dice,
        "losses": state.losses,
        "identity": identity,
        "schedules": {name: schedule.state() for name, schedule in _watching(learner).items()},
    }
    save_state(folder.resume_state, tensors, numbers)


def restore_progress(learner: Learner, folder: FoldFolder, identity: Mapping[str, Any]) -> TrainingState | None:
    """Restore the learner from the last checkpoint and return its training state; None without a checkpoint.

    Raises :class:`TrainingError` if the settings of the checkpoint differ from ``identity``, :class:`WeightsError` if
    its weights do not fit the modules.
    """
    path = folder.resume_state
    found = load_state(path)
    if found is None:
        return None
    tensors, numbers = found
    check_identity(path, numbers["identity"], identity)
    for name, module in learner.method.modules.items():
        try:
            fill(module, _part(tensors, f"modules.{name}"))
        except (RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[-1].strip()
            raise WeightsError(f"{path}: module '{name}': {reason}; use --restart") from None
    for name, each in learner.optimizers.items():
        restore_optimizer(each.optimizer, _part(tensors, f"optimizers.{name}"), source=path)
    if learner.average:
        for name, tensor in _part(tensors, "average").items():
            learner.average.tensors[name].copy_(tensor)
    for name, schedule in _watching(learner).items():
        schedule.restore(numbers["schedules"][name])
    return TrainingState(
        progress=TrainingProgress(**numbers["progress"]),
        smoothed_score=numbers["smoothed_score"],
        best_score=numbers["best_score"],
        last_dice=numbers["last_dice"],
        losses=list(numbers["losses"]),
    )


def check_identity(path: Path, found: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Raise :class:`TrainingError` if the settings ``found`` in checkpoint ``path`` differ from ``identity``."""
    changed = [key for key, value in identity.items() if found.get(key) != value]
    if changed:
        raise TrainingError(
            f"{path}: this fold was started with another {' and '.join(changed)}; "
            "continue with the same value, or start again with --restart"
        )


def _watching(learner: Learner) -> dict[str, WatchingSchedule]:
    schedules = {name: found.schedule for name, found in learner.optimizers.items()}
    return {name: schedule for name, schedule in schedules.items() if isinstance(schedule, WatchingSchedule)}


def _under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def _part(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    start = f"{prefix}."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
