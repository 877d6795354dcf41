"""Memory and work of a training step, counted on fake tensors (shapes without storage)."""

from __future__ import annotations

import json
import sys
import warnings
import weakref
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from autoseg.data.dataset import Dataset
from autoseg.files.records import to_plain
from autoseg.learning.costs.blank import blank_batches, blank_step
from autoseg.learning.costs.work import flops_of, work_of
from autoseg.learning.learner import Learner, build_learner, change_weights, compute_gradients
from autoseg.learning.step_cost import BatchCost, StepCost, allowing
from autoseg.learning.streams import StreamPlan
from autoseg.learning.trainer import CountsCost, Task, build_trainer
from autoseg.networks.build import build_network
from autoseg.plan.schema import Configuration

COUNTED_BATCH = 1009
"""Batch size of the count. It is a large prime: a tensor size that it divides is proportional to the batch size."""

CHANNEL_BLOCK = 16
"""Convolution kernels of CPUs and GPUs pad the channels of their internal copies to a multiple of this number."""


@dataclass(frozen=True)
class _Amount:
    """Bytes or operations as fixed part and part per sample."""

    fixed: int = 0
    sample: int = 0

    def __add__(self, other: _Amount) -> _Amount:
        return _Amount(self.fixed + other.fixed, self.sample + other.sample)

    def __sub__(self, other: _Amount) -> _Amount:
        return _Amount(self.fixed - other.fixed, self.sample - other.sample)

    def of(self, batch: int) -> int:
        """Return the amount with ``batch`` samples."""
        return self.fixed + batch * self.sample


class _Ledger(TorchDispatchMode):
    """Track the allocated bytes during every operation, and count the floating-point operations.

    An amount that ``batch`` divides belongs to the samples. An amount above ``most_fixed`` belongs to them, too: the
    bytes of the network's largest weight tensor are the limit, and anything larger is a rounded share of all voxels.
    While weights are created or updated, there is no such limit.
    """

    def __init__(self, batch: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.batch = batch
        self.most_fixed = sys.maxsize
        self.alive = self.flops = _Amount()
        self.work: defaultdict[str, _Amount] = defaultdict(_Amount)
        self.history: list[_Amount] = []
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(  # type: ignore[override]
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        flops = flops_of(func, args, kwargs, result)
        self.flops += self._amount(flops or 0)
        for kind, amount in work_of(func, args, result, flops).items():
            self.work[kind] += self._amount(int(amount))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._enter(leaf.untyped_storage())
        hidden = _HIDDEN.get(packet)
        self.history.append(self.alive + self._amount(hidden(args, result)) if hidden else self.alive)
        return result

    def _amount(self, total: int) -> _Amount:
        if total % self.batch and total <= self.most_fixed:
            return _Amount(fixed=total)
        return _Amount(total % self.batch, total // self.batch)

    def _enter(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known:
            return
        size = self._amount(storage.nbytes())
        self._known.add(storage)
        self.alive += size
        weakref.finalize(storage, self._leave, size)

    def _leave(self, size: _Amount) -> None:
        self.alive -= size


def _convolution(args: tuple[Any, ...], result: torch.Tensor) -> int:
    """Extra bytes of a convolution beside its result: input and result in the internal layout of the kernel."""
    image, copy = _blocked(args[0]), _blocked(result)
    return max(image + copy - _bytes(result), copy)


def _convolution_backward(args: tuple[Any, ...], result: tuple[torch.Tensor | None, ...]) -> int:
    """Extra bytes of a convolution's backward pass: output gradient and input in the internal layout of the kernel.

    In 16 bits, the weight gradient of a kernel of more than one voxel works on pairs of values and needs another copy.
    """
    gradient, image, weight = args[:3]
    copies = 2 if image.element_size() == 2 and weight[0, 0].numel() > 1 and image.shape[1] > 1 else 1
    return copies * (_blocked(gradient) + _blocked(image))


_HIDDEN: dict[Any, Callable[[tuple[Any, ...], Any], int]] = {
    torch.ops.aten.convolution: _convolution,
    torch.ops.aten.convolution_backward: _convolution_backward,
}
"""Operations that allocate memory without a visible tensor, and how to compute its bytes."""


def _blocked(tensor: torch.Tensor) -> int:
    """Bytes of a tensor [B,C,*space] with channels padded to a multiple of :data:`CHANNEL_BLOCK`."""
    channels = tensor.shape[1]
    return _bytes(tensor) // channels * (-(-channels // CHANNEL_BLOCK) * CHANNEL_BLOCK)


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def step_cost(configuration: Configuration, dataset: Dataset, *, batch_size: int) -> StepCost:
    """Count one step of a configuration's trainer: forward, losses, backward and the optimizers with their state.

    Nothing is allocated and no GPU is needed. Returns the peak in bytes, including the allowance of :func:`allowing`,
    and the floating-point operations.
    """
    trainer = build_trainer(configuration)
    if isinstance(trainer, CountsCost):
        cost = trainer.cost(configuration, dataset)
        return StepCost(cost.peak_bytes(batch_size), cost.flops(batch_size))
    step = _count(configuration, dataset, batch_size)
    return StepCost(allowing(_peak(step, batch_size)), step.flops.of(batch_size))


def batch_cost(configuration: Configuration, dataset: Dataset) -> BatchCost:
    """Count a step of a configuration's trainer for every batch size; cached in the process, see :func:`step_cost`."""
    # The cache key contains only fields that change the count.
    plain = replace(configuration, batch_size=1, spacing=(None, 1.0, 1.0), median_shape=(1, 1, 1), augmentation={})
    described = replace(dataset, cases=(), groups={}, annotated={})
    key = json.dumps(to_plain((plain, described)))
    if key not in _counted:
        # Only the cases of a dataset are not part of the key: a trainer may look for their kinds.
        _counted[key] = _count_batches(plain, dataset)
    return _counted[key]


_counted: dict[str, BatchCost] = {}
"""Cache of counted costs in this process, by configuration and dataset as JSON text."""


def _count_batches(configuration: Configuration, dataset: Dataset) -> BatchCost:
    trainer = build_trainer(configuration)
    if isinstance(trainer, CountsCost):
        return trainer.cost(configuration, dataset)
    one, two = (_patches(configuration, dataset, times * COUNTED_BATCH) for times in (1, 2))
    step, exact = _count(configuration, dataset, COUNTED_BATCH), None
    if two != 2 * one:
        # A stream has a size of its own: only two counts tell what depends on the batch size.
        step = _line(step, _count(configuration, dataset, 2 * COUNTED_BATCH))

        @cache
        def exact(batch: int) -> int:
            return _peak(_count(configuration, dataset, batch), batch)

    lines = {(amount.fixed, amount.sample) for amount in step.moments}
    work = step.work.items()
    return BatchCost(
        _upper_hull(lines),
        step.flops.fixed,
        step.flops.sample,
        fixed_work={kind: amount.fixed for kind, amount in work},
        sample_work={kind: amount.sample for kind, amount in work},
        fixed_patches=2 * one - two,
        sample_patches=(two - one) / COUNTED_BATCH,
        exact=exact,
    )


def _peak(step: _Step, batch: int) -> int:
    return max(amount.of(batch) for amount in step.moments)


def _patches(configuration: Configuration, dataset: Dataset, batch_size: int) -> int:
    """Return the number of patches of a step, in all streams and views."""
    streams = _streams(configuration, dataset, batch_size).values()
    return sum(stream.batch_size * stream.views for stream in streams)


def _streams(configuration: Configuration, dataset: Dataset, batch_size: int) -> Mapping[str, StreamPlan]:
    return build_trainer(configuration).streams(replace(configuration, batch_size=batch_size), dataset)


def _line(one: _Step, two: _Step) -> _Step:
    """Return a step as a line through counts with one and two times :data:`COUNTED_BATCH` samples."""

    def through(first: _Amount, second: _Amount) -> _Amount:
        low, high = first.of(COUNTED_BATCH), second.of(2 * COUNTED_BATCH)
        return _Amount(2 * low - high, (high - low) // COUNTED_BATCH)

    if len(one.moments) == len(two.moments):
        moments = tuple(map(through, one.moments, two.moments))
    else:
        # The number of operations depends on the batch size: only the peaks correspond.
        moments = (through(one.peak(COUNTED_BATCH), two.peak(2 * COUNTED_BATCH)),)
    kinds = one.work.keys() | two.work.keys()
    none = _Amount()
    work = {kind: through(one.work.get(kind, none), two.work.get(kind, none)) for kind in kinds}
    return _Step(moments, through(one.flops, two.flops), work)


def _upper_hull(lines: set[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Keep the lines fixed + batch · sample that are the maximum for some batch size of at least 1."""
    hull: list[tuple[int, int]] = []
    for fixed, sample in sorted(lines, key=lambda line: (line[1], line[0])):
        while hull and (hull[-1][1] == sample or fixed + sample >= hull[-1][0] + hull[-1][1]):
            # The new line is steeper and not lower at batch size 1: the flatter line is never the maximum.
            hull.pop()
        hull.append((fixed, sample))
    return tuple(hull)


@dataclass(frozen=True)
class _Step:
    """Counts of one training step."""

    moments: tuple[_Amount, ...]
    """Allocated bytes at each moment."""
    flops: _Amount
    work: Mapping[str, _Amount]

    def peak(self, batch: int) -> _Amount:
        """Return the largest of the moments with ``batch`` samples."""
        return max(self.moments, key=lambda amount: amount.of(batch))


class _FakeMode(FakeTensorMode):
    """Fake tensors that can be copied: a trainer may copy its network, for example for a teacher."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _FakeMode:
        return self


def _count(configuration: Configuration, dataset: Dataset, batch_size: int) -> _Step:
    """Execute a step of the trainer on fake tensors: compute gradients, then update the weights."""
    streams, step = _streams(configuration, dataset, batch_size), blank_step()
    with warnings.catch_warnings(), _FakeMode(), _Ledger(batch_size) as ledger:
        # Copying a network asks for the addresses of its tensors, which fake tensors do not have.
        warnings.filterwarnings("ignore", message="Accessing the data pointer of FakeTensor")
        network = build_network(configuration, dataset)
        learner = build_learner(Task(configuration, dataset, network, torch.device("cpu")))
        batches = blank_batches(streams, configuration, dataset, learner.network)
        kept = [tensor for module in learner.method.modules.values() for tensor in module.state_dict().values()]
        ledger.most_fixed = max(map(_bytes, kept))
        compute_gradients(learner, batches, step)
        ledger.most_fixed, moments = sys.maxsize, len(ledger.history)
        change_weights(learner, step)
    # From the second step on, the optimizer's state exists from the beginning of the step.
    state = _Amount(_state_bytes(learner))
    before = (alive + state for alive in ledger.history[:moments])
    return _Step((*before, *ledger.history[moments:]), ledger.flops, dict(ledger.work))


def _state_bytes(learner: Learner) -> int:
    """Bytes of all tensors that the optimizers keep."""
    states = (state for found in learner.optimizers.values() for state in found.optimizer.state.values())
    kept = (leaf for state in states for leaf in tree_leaves(dict(state)))
    return sum(_bytes(leaf) for leaf in kept if isinstance(leaf, torch.Tensor))
