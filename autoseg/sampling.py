"""Which patch is sample number i: a pure function of seed, fold and i, whoever computes it and whenever."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from autoseg.errors import PlanError
from autoseg.preprocessing.store import StoredCase
from autoseg.registry import Registry

samplers: Registry = Registry(
    "samplers", modules=("autoseg.balanced_sampling", "autoseg.body_sampling", "autoseg.class_sampling")
)

ALL_FOLDS = 9999
"""Stands for fold ``all`` in seeds, which are numbers."""

Triple = tuple[int, int, int]
Holders = Mapping[int, tuple[int, ...]]
"""The places among a fold's cases of those that have a class, or region, by its number."""


@dataclass(frozen=True)
class Stream:
    """An endless stream of samples.

    Each epoch visits every case once, in an order of its own, so that no case is seen much more often than another.
    """

    seed: int
    fold: int
    cases: int
    purpose: int = 0
    """Tells apart the streams of one fold: 0 trains, 1 validates, others are for those who need more."""

    def rng(self, index: int) -> np.random.Generator:
        """Return the generator that decides all of sample ``index``."""
        return np.random.default_rng([self.seed, self.fold, self.purpose, 0, index])

    def case(self, index: int) -> int:
        """Return which case sample ``index`` is taken from."""
        epoch, position = divmod(index, self.cases)
        order = np.random.default_rng([self.seed, self.fold, self.purpose, 1, epoch]).permutation(self.cases)
        return int(order[position])


class Sampler(Protocol):
    """Chooses where in a case a patch is centred."""

    def __call__(
        self, case: StoredCase, patch: Triple, *, position: int, batch: int, rng: np.random.Generator
    ) -> Triple:
        """Return the first voxel of the patch; it may lie outside the image where that is smaller than the patch."""
        ...


@runtime_checkable
class CaseSampler(Protocol):
    """Chooses the case as well, by which classes the cases of a fold have."""

    def choose(
        self, case: int, holders: Holders, *, position: int, batch: int, rng: np.random.Generator
    ) -> tuple[int, Sampler]:
        """Return the case that a sample is taken from, ``case`` or another, and the sampler of its place there."""
        ...


@samplers.register("foreground")
@dataclass(frozen=True)
class ForegroundSampler:
    """Uniform places, but the last share of each batch is centred on a voxel of a class that the case holds.

    nnU-Net's rule: with ``fraction`` 0.33 one of two, three of nine samples hold foreground for sure.
    """

    fraction: float = 0.33

    def __post_init__(self) -> None:
        check_share("fraction", self.fraction)

    def __call__(
        self, case: StoredCase, patch: Triple, *, position: int, batch: int, rng: np.random.Generator
    ) -> Triple:
        """Choose a place for the sample at ``position`` of a batch of ``batch``."""
        if case.foreground and forced(self.fraction, position=position, batch=batch):
            classes = sorted(case.foreground)
            voxels = case.foreground[classes[rng.integers(len(classes))]]
            return around(voxels[rng.integers(len(voxels))], case.shape, patch)
        return somewhere(case, patch, rng)


@samplers.register("uniform")
@dataclass(frozen=True)
class UniformSampler:
    """Uniform places in the image."""

    def __call__(
        self, case: StoredCase, patch: Triple, *, position: int, batch: int, rng: np.random.Generator
    ) -> Triple:
        """Choose a place, whatever the position in the batch."""
        return somewhere(case, patch, rng)


def forced(fraction: float, *, position: int, batch: int) -> bool:
    """Tell whether the sample at ``position`` is of the share of a batch that holds foreground for sure."""
    return position >= round(batch * (1 - fraction))


def first_and_last(shape: Triple, patch: Triple) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and last start of a patch: inside the image, or with the image in the middle of the patch."""
    room = np.subtract(shape, patch)
    first = np.where(room < 0, room // 2, 0)
    return first, np.where(room < 0, first, room)


def somewhere(case: StoredCase, patch: Triple, rng: np.random.Generator) -> Triple:
    """Draw a start uniformly, or, where parts of a case are ignored, around a voxel that is not (nnU-Net)."""
    if case.annotated is None:
        return anywhere(case.shape, patch, rng)
    return around(case.annotated[rng.integers(len(case.annotated))], case.shape, patch)


def anywhere(shape: Triple, patch: Triple, rng: np.random.Generator) -> Triple:
    """Draw a start uniformly."""
    first, last = first_and_last(shape, patch)
    z, y, x = (int(n) for n in rng.integers(first, last + 1))
    return z, y, x


def around(voxel: Sequence[int] | np.ndarray, shape: Triple, patch: Triple) -> Triple:
    """Return the start of the patch whose centre is ``voxel``, moved into the image where it can be."""
    first, last = first_and_last(shape, patch)
    start = np.clip(np.subtract(voxel, np.floor_divide(patch, 2)), first, last)
    z, y, x = (int(n) for n in start)
    return z, y, x


def read_region(case: StoredCase, start: Triple, size: Triple) -> tuple[np.ndarray, np.ndarray]:
    """Read a box of a case: image [C,*size] float32 and labels [*size] int16; zeros outside the case."""
    image = np.zeros((case.image.shape[0], *size), dtype=np.float32)
    labels = np.zeros(size, dtype=np.int16)
    inside = _inside(case, start, size)
    if inside:
        source, target = inside
        image[(slice(None), *target)] = case.image[(slice(None), *source)]
        labels[target] = case.labels[source]
    return image, labels


def read_previous(case: StoredCase, start: Triple, size: Triple) -> np.ndarray | None:
    """Read the same box of the previous stage's label map, [*size] int16; None where the case has none."""
    if case.previous is None:
        return None
    labels = np.zeros(size, dtype=np.int16)
    inside = _inside(case, start, size)
    if inside:
        source, target = inside
        labels[target] = case.previous[source]
    return labels


def _inside(case: StoredCase, start: Triple, size: Triple) -> tuple[tuple[slice, ...], tuple[slice, ...]] | None:
    """Return where the part of a box that lies in a case is, in the case and in the box; None where there is none."""
    low = np.maximum(start, 0)
    high = np.minimum(np.add(start, size), case.shape)
    if not (high > low).all():
        return None
    source = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return source, tuple(slice(int(a - s), int(b - s)) for a, b, s in zip(low, high, start, strict=True))


class _ArgumentError(PlanError):
    """An argument of a sampler that is out of its range."""

    def __init__(self, argument: str, complaint: str) -> None:
        super().__init__(f"samplers, argument '{argument}': {complaint}")
        self.argument, self.complaint = argument, complaint


def check_share(argument: str, value: float) -> None:
    """Raise :class:`PlanError` that names the argument where a share is none."""
    if not 0 <= value <= 1:
        raise _ArgumentError(argument, f"found {value:g}, expected 0 to 1")


def build_sampler(spec: Mapping[str, Any], *, place: str = "field 'sampling") -> Sampler | CaseSampler:
    """Build the sampler that a plan names; ``place`` begins the message of the :class:`PlanError` where it cannot."""
    try:
        sampler: Sampler | CaseSampler = samplers.build(spec)
    except _ArgumentError as error:
        raise PlanError(f"{place}.{error.argument}', {error.complaint}") from None
    except PlanError as error:
        raise PlanError(f"{place}': {error}") from None
    return sampler
