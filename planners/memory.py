"""Memory and work of a training step, counted on tensors that have shapes but no storage."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from autoseg.dataset import Dataset
from autoseg.losses import losses
from autoseg.losses.deep_supervision import DeepSupervision
from autoseg.networks.build import build_network, input_channels
from autoseg.plan import Configuration

ALLOWANCE = 1.15
"""What the count cannot see: library workspaces, casts inside kernels, the allocator's slack and augmentation."""

OPTIMIZER_COPIES = 4
"""Copies of the weights that live beside the activations: the weights, two moments and their moving average."""


@dataclass(frozen=True)
class StepCost:
    """Cost of one training step."""

    peak_bytes: int
    flops: int


class _Ledger(TorchDispatchMode):
    """Follow the bytes that are alive, their peak, and the floating-point operations."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive = self.peak = self.flops = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(  # type: ignore[override]
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.flops += int(count(*args, **(kwargs or {}), out_val=result))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._enter(leaf.untyped_storage())
        return result

    def _enter(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known:
            return
        size = storage.nbytes()
        self._known.add(storage)
        self.alive += size
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._leave, size)

    def _leave(self, size: int) -> None:
        self.alive -= size


def step_cost(configuration: Configuration, dataset: Dataset, *, batch_size: int) -> StepCost:
    """Count one training step of a configuration: forward, loss, backward, and what the optimizer keeps.

    Nothing is allocated and no GPU is needed. Returns the peak in bytes, with :data:`ALLOWANCE`, and the floating-point
    operations.
    """
    with FakeTensorMode(), _Ledger() as ledger:
        network = build_network(configuration, dataset)
        weights = sum(p.numel() * p.element_size() for p in network.parameters())
        loss = DeepSupervision(losses.build(configuration.loss))
        images = torch.empty(batch_size, input_channels(configuration, dataset), *configuration.patch_size)
        labels = torch.zeros(batch_size, *configuration.patch_size, dtype=torch.int64)
        casts = configuration.precision == "bfloat16"
        with torch.autocast("cpu", torch.bfloat16) if casts else nullcontext():
            logits = network(images)
        loss(logits, labels).backward()
    kept = (OPTIMIZER_COPIES - 1) * weights
    return StepCost(peak_bytes=int((ledger.peak + kept) * ALLOWANCE), flops=ledger.flops)


def cost_by_batch(configuration: Configuration, dataset: Dataset, *, batch: int = 1) -> tuple[StepCost, StepCost]:
    """Return what a step costs whatever the batch, and what each sample adds, as counted at ``batch`` and twice that.

    Exact at ``batch``. Work is linear in the batch size; the peak is the largest of several moments that are, so that
    far above ``batch`` it may be more than this says.
    """
    one = step_cost(configuration, dataset, batch_size=batch)
    two = step_cost(configuration, dataset, batch_size=2 * batch)
    sample = StepCost(max((two.peak_bytes - one.peak_bytes) // batch, 1), max((two.flops - one.flops) // batch, 1))
    return StepCost(max(one.peak_bytes - batch * sample.peak_bytes, 0), 0), sample


@dataclass(frozen=True)
class BatchCost:
    """Shim until counted by pieces."""

    fixed: StepCost
    sample: StepCost

    def peak_bytes(self, batch: int) -> int:
        return self.fixed.peak_bytes + batch * self.sample.peak_bytes

    def flops(self, batch: int) -> int:
        return batch * self.sample.flops

    def largest_batch(self, memory: int) -> int:
        return max(0, (memory - self.fixed.peak_bytes) // self.sample.peak_bytes)


def batch_cost(configuration: Configuration, dataset: Dataset) -> BatchCost:
    return BatchCost(*cost_by_batch(configuration, dataset, batch=2))
