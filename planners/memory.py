"""Memory and work of a training step, counted on tensors that have shapes but no storage."""

from __future__ import annotations

import bisect
import json
import sys
import weakref
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from autoseg.dataset import Dataset
from autoseg.networks.build import build_network, input_channels, output_size
from autoseg.plan import Configuration
from autoseg.planners.work import Work, flops_of, work_of
from autoseg.records import to_plain
from autoseg.trainers.learner import Learner, build_learner, change_weights, compute_gradients
from autoseg.trainers.loader import Batch

LIBRARIES = 112 * 1024**2
"""Bytes that a first step makes PyTorch load and keep: code, compiled kernels, or a GPU's context."""
SLACK, MOST_SLACK = 0.35, 240 * 1024**2
"""Share of what is counted, and bytes at most, that allocators keep between blocks in use: those of less than 32 MB lie
on the C library's heap, which larger patches hardly use. Seen: benchmarks/README.md."""

COUNTED_BATCH = 1009
"""A batch that tells all others: it is a prime, so that what it divides is so many times what each sample takes."""

CHANNEL_BLOCK = 16
"""Channels to a multiple of which convolution kernels of CPUs and GPUs pad their own copies."""


@dataclass(frozen=True)
class StepCost:
    """Cost of one training step."""

    peak_bytes: int
    flops: int


@dataclass(frozen=True)
class BatchCost:
    """Cost of one training step for every batch size.

    The bytes alive at each moment of a step are linear in the batch; the peak is the largest over all moments.
    """

    moments: tuple[tuple[int, int], ...]
    """Bytes alive whatever the batch and bytes that each sample adds, where these are the peak for some batch."""
    fixed_flops: int
    """Of the optimizer, whatever the batch."""
    sample_flops: int
    fixed_work: Work = field(default_factory=dict)
    """The same by kinds of work, see :mod:`autoseg.planners.work`."""
    sample_work: Work = field(default_factory=dict)

    def peak_bytes(self, batch: int) -> int:
        """Return the peak in bytes of a step with ``batch`` samples, with :func:`allowing`."""
        return allowing(max(fixed + batch * sample for fixed, sample in self.moments))

    def flops(self, batch: int) -> int:
        """Return the floating-point operations of a step with ``batch`` samples."""
        return self.fixed_flops + batch * self.sample_flops

    def largest_batch(self, memory: int) -> int:
        """Return the largest batch whose step takes no more than ``memory`` bytes; 0 where not even one sample does."""
        # Without any allowance more would fit, so that the batch to find is among these.
        most = max(0, min((memory - fixed) // sample for fixed, sample in self.moments if sample > 0))
        return bisect.bisect_right(range(1, most + 1), memory, key=self.peak_bytes)


@dataclass(frozen=True)
class _Amount:
    """Bytes or operations: what there is whatever the batch, and what each sample adds."""

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
    """Follow the bytes that are alive during every operation, and the floating-point operations.

    What the ``batch`` divides belongs to its samples. So does what has more bytes than ``most_fixed``, those of the
    network's largest tensor: a share of all voxels, rounded. While weights are made and change, nothing else is theirs.
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
    """Bytes beside its result that a convolution needs: its input and its result, each in the kernel's own layout."""
    image, copy = _blocked(args[0]), _blocked(result)
    return max(image + copy - _bytes(result), copy)


def _convolution_backward(args: tuple[Any, ...], result: tuple[torch.Tensor | None, ...]) -> int:
    """Bytes beside its results: the output's gradient and the input in the kernel's layout.

    In 16 bits the gradient of a kernel of several voxels takes pairs of them, which are copied once more.
    """
    gradient, image, weight = args[:3]
    copies = 2 if image.element_size() == 2 and weight[0, 0].numel() > 1 and image.shape[1] > 1 else 1
    return copies * (_blocked(gradient) + _blocked(image))


_HIDDEN: dict[Any, Callable[[tuple[Any, ...], Any], int]] = {
    torch.ops.aten.convolution: _convolution,
    torch.ops.aten.convolution_backward: _convolution_backward,
}
"""Operations that need memory which no tensor tells of, and how much."""


def _blocked(tensor: torch.Tensor) -> int:
    """Bytes of a tensor [B,C,*space] whose channels are padded to whole blocks."""
    channels = tensor.shape[1]
    return _bytes(tensor) // channels * (-(-channels // CHANNEL_BLOCK) * CHANNEL_BLOCK)


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def allowing(counted: int) -> int:
    """Add to the counted bytes what no count can see: :data:`LIBRARIES` and the allocator's slack."""
    return counted + LIBRARIES + min(int(SLACK * counted), MOST_SLACK)


def step_cost(configuration: Configuration, dataset: Dataset, *, batch_size: int) -> StepCost:
    """Count one training step of a configuration: forward, loss, backward and the optimizer with its state.

    Nothing is allocated and no GPU is needed. Returns the peak in bytes, with :func:`allowing`, and the floating-point
    operations.
    """
    step = _count(configuration, dataset, batch_size)
    peak = max(amount.of(batch_size) for amount in step.moments)
    return StepCost(allowing(peak), step.flops.of(batch_size))


def batch_cost(configuration: Configuration, dataset: Dataset) -> BatchCost:
    """Count a training step of a configuration for every batch size, once in a process; see :func:`step_cost`."""
    # Only what the count depends on decides whether it is done again.
    plain = replace(configuration, batch_size=1, spacing=(None, 1.0, 1.0), median_shape=(1, 1, 1), augmentation={})
    described = replace(dataset, cases=(), groups={}, annotated={})
    key = json.dumps(to_plain((plain, described)))
    if key not in _counted:
        _counted[key] = _count_batches(plain, described)
    return _counted[key]


_counted: dict[str, BatchCost] = {}
"""What was counted in this process, by the text of what it was counted for."""


def _count_batches(configuration: Configuration, dataset: Dataset) -> BatchCost:
    step = _count(configuration, dataset, COUNTED_BATCH)
    lines = {(amount.fixed, amount.sample) for amount in step.moments}
    work = step.work.items()
    return BatchCost(
        _upper_hull(lines),
        step.flops.fixed,
        step.flops.sample,
        fixed_work={kind: amount.fixed for kind, amount in work},
        sample_work={kind: amount.sample for kind, amount in work},
    )


def _upper_hull(lines: set[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Keep the lines fixed + batch · sample that are the largest for some batch from 1 on."""
    hull: list[tuple[int, int]] = []
    for fixed, sample in sorted(lines, key=lambda line: (line[1], line[0])):
        while hull and (hull[-1][1] == sample or fixed + sample >= hull[-1][0] + hull[-1][1]):
            # Steeper, and no lower at a batch of one: the flatter one is never the largest.
            hull.pop()
        hull.append((fixed, sample))
    return tuple(hull)


@dataclass(frozen=True)
class _Step:
    """What was counted of a step."""

    moments: tuple[_Amount, ...]
    """Bytes alive at each of its moments."""
    flops: _Amount
    work: Mapping[str, _Amount]


def _count(configuration: Configuration, dataset: Dataset, batch_size: int) -> _Step:
    """Make a step on fake tensors: gradients, then the change of the weights."""
    with FakeTensorMode(), _Ledger(batch_size) as ledger:
        learner = build_learner(configuration, build_network(configuration, dataset), device=torch.device("cpu"))
        images = torch.empty(batch_size, input_channels(configuration, dataset), *configuration.patch_size)
        labelled = output_size(configuration.patch_size, learner.network.margin)  # type: ignore[arg-type]
        batch = Batch(images, torch.zeros(batch_size, *labelled, dtype=torch.int64))
        ledger.most_fixed = max(map(_bytes, learner.network.state_dict().values()))
        compute_gradients(learner, batch)
        ledger.most_fixed, moments = sys.maxsize, len(ledger.history)
        change_weights(learner, 1.0)
    # From the second step on the optimizer's state is there from its beginning.
    state = _Amount(_state_bytes(learner))
    before = (alive + state for alive in ledger.history[:moments])
    return _Step((*before, *ledger.history[moments:]), ledger.flops, dict(ledger.work))


def _state_bytes(learner: Learner) -> int:
    """Bytes of all tensors that the optimizer keeps."""
    kept = (leaf for state in learner.optimizer.state.values() for leaf in tree_leaves(dict(state)))
    return sum(_bytes(leaf) for leaf in kept if isinstance(leaf, torch.Tensor))
