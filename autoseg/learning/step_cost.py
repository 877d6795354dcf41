"""Cost of a training step: memory, floating-point operations and work, as functions of the batch size."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Work = Mapping[str, float]
"""Amount of work of each kind."""
LIBRARIES = 112 * 1024**2
"""Bytes that PyTorch allocates in the first step and keeps: code, compiled kernels, or the context of a GPU."""
SLACK, MOST_SLACK = 0.35, 240 * 1024**2
"""Memory that allocators keep between blocks in use: share of the counted bytes, and maximum in bytes.

Blocks of less than 32 MB lie on the heap of the C library; larger patches hardly use it. Measured in
benchmarks/README.md."""


@dataclass(frozen=True)
class StepCost:
    """Cost of one training step."""

    peak_bytes: int
    flops: int


@dataclass(frozen=True)
class BatchCost:
    """Cost of one training step for every batch size.

    The allocated bytes at each moment of a step are linear in the batch size; the peak is the maximum over all moments.
    """

    moments: tuple[tuple[int, int], ...]
    """(fixed bytes, bytes per sample) of each moment that is the peak for some batch size."""
    fixed_flops: int
    """Operations of the optimizer, independent of the batch size."""
    sample_flops: int
    fixed_work: Work = field(default_factory=dict)
    """Fixed work by kind, see :mod:`autoseg.learning.costs.work`."""
    sample_work: Work = field(default_factory=dict)
    fixed_patches: int = 0
    """Patches of a step that do not depend on the batch size: those of streams with a size of their own."""
    sample_patches: float = 1.0
    """Patches of a step for each sample of the planned batch: of all streams, with both views."""

    exact: Callable[[int], int] | None = None
    """Counts the allocated bytes for one batch size. It is given where they are not linear, because a stream has a size
    of its own, which may be rounded."""

    def patches(self, batch: int) -> float:
        """Return the number of patches that are read and augmented for a step."""
        return self.fixed_patches + batch * self.sample_patches

    def peak_bytes(self, batch: int) -> int:
        """Return the peak in bytes of a step with ``batch`` samples, including the allowance of :func:`allowing`."""
        return allowing(self.exact(batch) if self.exact else self._linear(batch))

    def _linear(self, batch: int) -> int:
        return max(fixed + batch * sample for fixed, sample in self.moments)

    def flops(self, batch: int) -> int:
        """Return the floating-point operations of a step with ``batch`` samples."""
        return self.fixed_flops + batch * self.sample_flops

    def largest_batch(self, memory: int) -> int:
        """Return the largest batch size whose step needs at most ``memory`` bytes; 0 if not even one sample fits."""
        # Without the allowance more samples fit: this is an upper bound for the search.
        most = max(0, min((memory - fixed) // sample for fixed, sample in self.moments if sample > 0))
        found = bisect.bisect_right(range(1, most + 1), memory, key=lambda batch: allowing(self._linear(batch)))
        # Exact counts take time. They differ by a few samples from the linear one.
        while self.exact and found and self.peak_bytes(found) > memory:
            found -= 1
        return found


def allowing(counted: int) -> int:
    """Add the memory that cannot be counted to the counted bytes: :data:`LIBRARIES` and the allocator's slack."""
    return counted + LIBRARIES + min(int(SLACK * counted), MOST_SLACK)
