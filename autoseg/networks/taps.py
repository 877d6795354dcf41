"""Taps: hidden layers of a network, whose features a loss reads by name during a forward pass."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import chain
from typing import Any
from weakref import WeakSet

import torch
from torch import nn
from torch.func import functional_call

from autoseg.errors import PlanError
from autoseg.networks import networks
from autoseg.registry import nearest_first

logger = logging.getLogger("autoseg")

_TOLD: WeakSet[nn.Module] = WeakSet()
"""Compiled networks for which the log says already that compilation is switched off."""


@contextmanager
def taps(network: nn.Module, names: Sequence[str]) -> Iterator[Features]:
    """Read hidden layers of a network: forward passes in the block fill the yielded mapping, see :class:`Features`.

    ``names`` are names of the network's attribute ``taps``, a mapping of names to modules. The network is only changed
    within the block: each tap has a forward hook there. A network that was compiled with ``torch.compile`` runs without
    compilation in the block, because compiled code does not call hooks; the log says so once for each network. Raises
    :class:`autoseg.errors.PlanError` for a name that the network does not have.
    """
    modules = _modules(network, names)
    features = Features(_name(network), list(modules))
    with ExitStack() as stack:
        if _is_compiled(network):
            _tell(network)
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        for name, module in modules.items():
            stack.enter_context(module.register_forward_hook(partial(features.keep, name)))
        yield features


class Features(Mapping[str, torch.Tensor]):
    """Features [B,C,*space] of taps, by name.

    They are those of the last forward pass in the block, in the precision in which it computed them. Gradients flow
    through them. If a pass calls a layer several times, the last call counts. The features stay after the block, until
    the mapping is deleted or ``clear`` is called. In a block of many steps, ``clear`` at the end of a step frees them
    before the next one.
    """

    def __init__(self, network: str, names: Sequence[str]) -> None:
        self._network, self._names = network, tuple(names)
        self._found: dict[str, torch.Tensor] = {}

    def __getitem__(self, name: str) -> torch.Tensor:
        """Return the features of a tap; raise :class:`autoseg.errors.PlanError` if there are none."""
        if name not in self._names:
            raise PlanError(f"network '{self._network}', taps: found '{name}', expected {_listed(name, self._names)}")
        if name not in self._found:
            raise PlanError(
                f"network '{self._network}', tap '{name}': found no features, expected a forward pass in the block "
                "before; call the network first, and not within a function compiled with torch.compile"
            )
        return self._found[name]

    def __contains__(self, name: object) -> bool:
        """Return whether a tap was asked for, also before the first forward pass."""
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def clear(self) -> None:
        """Forget the features; the next forward pass in the block fills them again."""
        self._found.clear()

    def keep(self, name: str, module: nn.Module, inputs: Any, result: Any) -> None:
        """Keep the result of a tap; this is its forward hook."""
        if not isinstance(result, torch.Tensor):
            raise PlanError(
                f"network '{self._network}', tap '{name}': found {type(result).__name__} as its result, expected a "
                "tensor; declare a module that returns one tensor"
            )
        self._found[name] = result


def declared_taps(network: nn.Module) -> Mapping[str, nn.Module]:
    """Return the hidden layers of a network by name; none if it has no attribute ``taps``."""
    found: Mapping[str, nn.Module] = getattr(network, "taps", {})
    return found


def encoder_taps(stages: Sequence[nn.Module] | nn.ModuleList) -> dict[str, nn.Module]:
    """Name the stages of an encoder, finest first: ``encoder_0``, ``encoder_1`` and so on, and ``bottleneck``."""
    *finer, coarsest = stages
    return {f"encoder_{level}": stage for level, stage in enumerate(finer)} | {"bottleneck": coarsest}


def tap_shapes(
    network: nn.Module, in_channels: int, patch: Sequence[int], names: Sequence[str] | None = None
) -> dict[str, tuple[int, ...]]:
    """Return the shape (C, *space) of the taps ``names``, by default of all, for a patch of ``in_channels`` channels.

    The forward pass runs on tensors without storage. It takes no memory and leaves the network as it is. Raises
    :class:`autoseg.errors.PlanError` for a name that the network does not have.
    """
    names = list(declared_taps(network)) if names is None else names
    if not names:
        return {}
    stored = chain(network.named_parameters(), network.named_buffers())
    without_storage = {name: torch.empty_like(tensor, device="meta") for name, tensor in stored}
    with torch.no_grad(), torch.device("meta"), taps(network, names) as features:
        functional_call(network, without_storage, (torch.empty(1, in_channels, *patch),))
    return {name: tuple(found.shape[1:]) for name, found in features.items()}


def _modules(network: nn.Module, names: Sequence[str]) -> dict[str, nn.Module]:
    """Return the modules of the asked taps; raise :class:`PlanError` for an unknown name."""
    where = f"network '{_name(network)}', taps"
    if isinstance(names, str):
        raise PlanError(f"{where}: found the text '{names}', expected a list of names; write ['{names}']")
    known = declared_taps(network)
    for name in names:
        if name not in known and not known:
            raise PlanError(f"{where}: found '{name}', expected none, because this network has no taps; use another")
        if name not in known:
            raise PlanError(f"{where}: found '{name}', expected {_listed(name, list(known))}; choose one of these")
    return {name: known[name] for name in names}


def _listed(name: str, names: Sequence[str]) -> str:
    return f"one of: {', '.join(nearest_first(name, names))}"


def _name(network: nn.Module) -> str:
    """Return the registered name of a network, also if other modules wrap it; otherwise the name of its class."""
    registered = (networks.name_of(type(module)) for module in network.modules())
    return next((name for name in registered if name), type(network).__name__)


def _is_compiled(network: nn.Module) -> bool:
    """Return whether a network or a part of it was compiled: ``torch.compile(network)`` or ``network.compile()``."""
    # Nothing is compiled before this module of PyTorch is loaded, which takes seconds.
    compiler = sys.modules.get("torch._dynamo.eval_frame")
    if compiler is None:
        return False
    return any(
        isinstance(module, compiler.OptimizedModule) or module._compiled_call_impl is not None
        for module in network.modules()
    )


def _tell(network: nn.Module) -> None:
    if network not in _TOLD:
        _TOLD.add(network)
        logger.warning(
            "network '%s': torch.compile is switched off where its taps are read; compiled code does not call hooks",
            _name(network),
        )
