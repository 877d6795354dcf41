"""Checkpoints of a training as safetensors and JSON; a resumed training continues bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from autoseg.errors import WeightsError
from autoseg.files.storage import read_json, write_json
from autoseg.files.weights import load_tensors, save_tensors

CHECKPOINT_VERSION = 2


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Convert an optimizer's state to a flat dictionary of named tensors."""
    state = optimizer.state_dict()["state"]
    return {
        f"{parameter}.{key}": torch.as_tensor(value)
        for parameter, values in state.items()
        for key, value in values.items()
        if value is not None
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor], *, source: Path) -> None:
    """Restore an optimizer's state from the tensors of :func:`optimizer_tensors`.

    Moments get the memory layout of their parameter, which fused optimizers require.
    Raises :class:`WeightsError`, which names the checkpoint ``source``, if a shape differs from its parameter's.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        like = parameters[int(index)]
        if tensor.ndim and tensor.shape != like.shape:
            # The order of the parameters may differ between versions of autoseg.
            raise WeightsError(
                f"{source}: '{name}' has the shape {tuple(tensor.shape)}, expected {tuple(like.shape)}; "
                "continue with the version of autoseg that wrote it, or use --restart"
            )
        state.setdefault(int(index), {})[key] = torch.empty_like(like).copy_(tensor) if tensor.ndim else tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def save_state(path: Path, tensors: Mapping[str, torch.Tensor], numbers: Mapping[str, Any]) -> None:
    """Write a checkpoint: first the tensors to a new file, then the JSON with the name of that file.

    The JSON always names a complete tensor file of the same step, even if the process is killed while it writes.
    Older tensor files are removed last.
    """
    name = f"resume-{numbers['progress']['step']}.safetensors"
    save_tensors(path.with_name(name), tensors)
    write_json(path, {"version": CHECKPOINT_VERSION, "tensors": name, **numbers})
    for old in path.parent.glob("resume-*.safetensors"):
        if old.name != name:
            old.unlink(missing_ok=True)


def load_state(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
    """Read a checkpoint; return None if it does not exist."""
    if not path.exists():
        return None
    numbers = read_json(path)
    version = numbers.get("version") if isinstance(numbers, dict) else None
    if version != CHECKPOINT_VERSION:
        raise WeightsError(f"{path}: field 'version', found {version}, expected {CHECKPOINT_VERSION}; use --restart")
    missing = [key for key in ("tensors", "progress") if key not in numbers]
    if missing:
        raise WeightsError(f"{path}: field '{missing[0]}' is missing, this checkpoint is damaged; use --restart")
    tensors = path.with_name(Path(str(numbers.get("tensors"))).name)
    return load_tensors(tensors), numbers


def remove_state(path: Path) -> None:
    """Remove a checkpoint that is no longer needed."""
    path.unlink(missing_ok=True)
    for tensors in path.parent.glob("resume-*.safetensors"):
        tensors.unlink(missing_ok=True)
