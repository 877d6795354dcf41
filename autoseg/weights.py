"""Weights as safetensors: atomically written, never unpickled."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from autoseg.errors import WeightsError
from autoseg.storage import atomic_path


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors to ``path`` atomically; raise :class:`autoseg.errors.WorkspaceError` where that fails."""
    with atomic_path(path) as temporary:
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        try:
            save_file(plain, temporary, metadata=dict(metadata or {}))
        except SafetensorError as error:
            raise _as_os_error(error) from error


def _as_os_error(error: SafetensorError) -> OSError:
    """Return what the operating system said, which is only in the text of ``error``."""
    found = re.search(r"os error (\d+)", str(error))
    return OSError(int(found[1]), os.strerror(int(found[1]))) if found else OSError(str(error))


def load_tensors(path: Path, device: str = "cpu") -> dict[str, torch.Tensor]:
    """Read tensors; raise :class:`WeightsError` where the file is missing or damaged."""
    if not path.exists():
        raise WeightsError(f"{path}: no such weights; train this fold first")
    try:
        return load_file(path, device=device)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path}: damaged or no safetensors file ({error}); train this fold again") from None


def save_network(path: Path, tensors: Mapping[str, torch.Tensor], network: Mapping[str, Any]) -> None:
    """Write weights that say themselves, as a plan would, which network they are of."""
    save_tensors(path, tensors, {"network": json.dumps(network)})


def named_network(path: Path) -> dict[str, Any] | None:
    """Return the network that weights say they are of; None where they are of the plan's."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("network")
    except (SafetensorError, OSError, ValueError):
        return None  # Whoever reads the tensors says what is wrong with them.
    try:
        network = None if text is None else json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        network = text
    if network is not None and not isinstance(network, dict):
        raise WeightsError(f"{path}: metadata 'network', found no object with a 'name'; train this fold again")
    return network


def load_weights(network: nn.Module, path: Path, device: str = "cpu") -> None:
    """Give a network the weights of a file; raise :class:`WeightsError` naming the first that does not fit."""
    tensors = load_tensors(path, device)
    _check_shapes(network, {name: tuple(tensor.shape) for name, tensor in tensors.items()}, path)
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise WeightsError(f"{path}: holds NaN or infinite weights, its training diverged; train again")
    try:
        network.load_state_dict(tensors)
    except ValueError as error:
        # What a network says of numbers that it cannot compute with.
        raise WeightsError(f"{path}: {error}; train this fold again") from None


def check_weights(network: nn.Module, path: Path) -> None:
    """Raise :class:`WeightsError` where a network, with storage or without, has other weights than a file holds."""
    if not path.exists():
        raise WeightsError(f"{path}: no such weights; train this fold first")
    try:
        with safe_open(path, framework="pt") as file:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path}: damaged or no safetensors file ({error}); train this fold again") from None
    _check_shapes(network, found, path)


def _check_shapes(network: nn.Module, held: Mapping[str, tuple[int, ...]], path: Path) -> None:
    expected = network.state_dict()
    for name in sorted(expected.keys() | held.keys()):
        found = held.get(name)
        wanted = tuple(expected[name].shape) if name in expected else None
        if found != wanted:
            raise WeightsError(
                f"{path}: weights do not fit the plan's network: '{name}', found {_shape(found)}, "
                f"expected {_shape(wanted)}; "
                "undo the change of the plan or train again"
            )


def _shape(shape: tuple[int, ...] | None) -> str:
    return "nothing" if shape is None else str(list(shape))
