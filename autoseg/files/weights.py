"""Read and write weights as safetensors files, atomically and without pickle."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from autoseg.errors import WeightsError
from autoseg.files.storage import atomic_path


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write tensors to ``path`` atomically; raise :class:`autoseg.errors.WorkspaceError` if that fails."""
    with atomic_path(path) as temporary:
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        try:
            save_file(plain, temporary)
        except SafetensorError as error:
            raise _as_os_error(error) from error


def _as_os_error(error: SafetensorError) -> OSError:
    """Return the operating system's error; its number is only in the text of ``error``."""
    found = re.search(r"os error (\d+)", str(error))
    return OSError(int(found[1]), os.strerror(int(found[1]))) if found else OSError(str(error))


def load_tensors(path: Path, device: str = "cpu") -> dict[str, torch.Tensor]:
    """Read tensors; raise :class:`WeightsError` if the file is missing or damaged."""
    if not path.exists():
        raise WeightsError(f"{path}: no such weights; train this fold first")
    try:
        return load_file(path, device=device)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path}: damaged or no safetensors file ({error}); train this fold again") from None


@runtime_checkable
class SizedByTraining(Protocol):
    """A module with arrays whose sizes only training decides, such as the nodes of decision trees."""

    def resize(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Give these arrays the sizes of ``shapes``, which are those of a file; leave out shapes that cannot be."""
        ...


def fill(module: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Load tensors into a module; arrays whose sizes training decides take the sizes of the tensors."""
    if isinstance(module, SizedByTraining):
        module.resize({name: tuple(tensor.shape) for name, tensor in tensors.items()})
    module.load_state_dict(dict(tensors))


def load_weights(network: nn.Module, path: Path, device: str = "cpu") -> None:
    """Load the weights of a file into a network; raise :class:`WeightsError` naming the first that does not fit."""
    tensors = load_tensors(path, device)
    _check_shapes(network, {name: tuple(tensor.shape) for name, tensor in tensors.items()}, path)
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise WeightsError(f"{path}: contains NaN or infinite weights because its training diverged; train again")
    try:
        fill(network, tensors)
    except ValueError as error:
        # Some networks check the values of their weights and raise ValueError.
        raise WeightsError(f"{path}: {error}; train this fold again") from None


def check_weights(network: nn.Module, path: Path) -> None:
    """Raise :class:`WeightsError` if a file's weights do not fit a network, which may be without storage (meta)."""
    if not path.exists():
        raise WeightsError(f"{path}: no such weights; train this fold first")
    try:
        with safe_open(path, framework="pt") as file:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path}: damaged or no safetensors file ({error}); train this fold again") from None
    _check_shapes(network, found, path)


def _check_shapes(network: nn.Module, held: Mapping[str, tuple[int, ...]], path: Path) -> None:
    if isinstance(network, SizedByTraining):
        network.resize(held)
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
