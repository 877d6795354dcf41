"""Memory and work of a training step, counted on tensors that have shapes but no storage."""

from __future__ import annotations

import json
import weakref
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
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
from autoseg.records import to_plain

ALLOWANCE = 1.15
"""What the count cannot see: library workspaces, casts inside kernels, the allocator's slack and augmentation."""

OPTIMIZER_COPIES = 4
"""Copies of the weights that live beside the activations: the weights, two moments and their moving average."""

COUNTED_BATCHES = (2, 3)
"""Batches that tell those of all others; a single sample may be treated in ways of its own."""


@dataclass(frozen=True)
class StepCost:
    """Cost of one training step."""

    peak_bytes: int
    flops: int


@dataclass(frozen=True)
class BatchCost:
    """Cost of one training step for every batch size.

    The bytes alive at each moment of a step are linear in the batch, so that two counted batches tell them for all; the
    peak is the largest over all moments.
    """

    moments: tuple[tuple[int, int], ...]
    """Bytes alive whatever the batch, and those that each sample adds, at the moments that are the peak for some batch."""
    kept: int
    """Bytes of gradients and of the optimizer's state."""
    flops_per_sample: int

    def peak_bytes(self, batch: int) -> int:
        """Return the peak in bytes of a step with ``batch`` samples, with :data:`ALLOWANCE`."""
        return _allowed(max(fixed + batch * sample for fixed, sample in self.moments) + self.kept)

    def flops(self, batch: int) -> int:
        """Return the floating-point operations of a step with ``batch`` samples."""
        return batch * self.flops_per_sample

    def largest_batch(self, memory: int) -> int:
        """Return the largest batch whose step takes no more than ``memory`` bytes; 0 where not even one sample does."""
        room = memory / ALLOWANCE - self.kept
        batch = max(0, min(int((room - fixed) / sample) for fixed, sample in self.moments if sample > 0))
        # Rounding may be off by one in either direction.
        while batch > 0 and self.peak_bytes(batch) > memory:
            batch -= 1
        return batch


class _Ledger(TorchDispatchMode):
    """Follow the bytes that are alive after every operation, and the floating-point operations."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive = self.flops = 0
        self.history: list[int] = []
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
        self.history.append(self.alive)
        return result

    def _enter(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known:
            return
        size = storage.nbytes()
        self._known.add(storage)
        self.alive += size
        weakref.finalize(storage, self._leave, size)

    def _leave(self, size: int) -> None:
        self.alive -= size


def step_cost(configuration: Configuration, dataset: Dataset, *, batch_size: int) -> StepCost:
    """Count one training step of a configuration: forward, loss, backward, and what the optimizer keeps.

    Nothing is allocated and no GPU is needed. Returns the peak in bytes, with :data:`ALLOWANCE`, and the floating-point
    operations.
    """
    ledger, kept = _count(configuration, dataset, batch_size)
    return StepCost(peak_bytes=_allowed(max(ledger.history) + kept), flops=ledger.flops)


def batch_cost(configuration: Configuration, dataset: Dataset) -> BatchCost:
    """Count a training step of a configuration for every batch size, once in a process; see :func:`step_cost`."""
    # Only what the count depends on decides whether it is done again.
    plain = replace(configuration, batch_size=1, spacing=(None, 1.0, 1.0), median_shape=(1, 1, 1), augmentation={})
    described = replace(dataset, cases=(), groups={}, annotated={})
    return _batch_cost(json.dumps(to_plain((plain, described))), _Counted(plain, described))


@dataclass(frozen=True, eq=False)
class _Counted:
    """What is counted; equal to any other, since the text beside it tells them apart."""

    configuration: Configuration
    dataset: Dataset

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Counted)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=256)
def _batch_cost(key: str, counted: _Counted) -> BatchCost:
    (one, kept), (other, _) = (_count(counted.configuration, counted.dataset, batch) for batch in COUNTED_BATCHES)
    step = COUNTED_BATCHES[1] - COUNTED_BATCHES[0]
    moments = set()
    for alive, later in zip(one.history, other.history, strict=True):
        sample = (later - alive) // step
        moments.add((alive - COUNTED_BATCHES[0] * sample, sample))
    return BatchCost(_upper_hull(moments), kept, (other.flops - one.flops) // step)


def _upper_hull(lines: set[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Keep the lines fixed + batch · sample that are the largest for some batch from 1 on."""
    hull: list[tuple[int, int]] = []
    for fixed, sample in sorted(lines, key=lambda line: (line[1], line[0])):
        while hull and (hull[-1][1] == sample or fixed + sample >= hull[-1][0] + hull[-1][1]):
            # Steeper, and no lower at a batch of one: the flatter one is never the largest.
            hull.pop()
        hull.append((fixed, sample))
    return tuple(hull)


def _count(configuration: Configuration, dataset: Dataset, batch_size: int) -> tuple[_Ledger, int]:
    """Run a step on fake tensors; return its ledger and the bytes that the optimizer keeps."""
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
    return ledger, (OPTIMIZER_COPIES - 1) * weights


def _allowed(size: float) -> int:
    return int(size * ALLOWANCE)
