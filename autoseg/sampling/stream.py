"""Streams of samples: sample number i depends only on seed, fold and i, so workers and restarts reproduce it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from autoseg.errors import PlanError
from autoseg.preprocessing.store import StoredCase
from autoseg.registry import Registry

samplers: Registry = Registry(
    "samplers", modules=("autoseg.sampling.balanced", "autoseg.sampling.body", "autoseg.sampling.classes")
)

ALL_FOLDS = 9999
"""Number of fold ``all`` in seeds, because seeds are numbers."""

Triple = tuple[int, int, int]
Holders = Mapping[int, tuple[int, ...]]
"""For each class or region number, the indices among a fold's cases of the cases that contain it."""


@dataclass(frozen=True)
class Stream:
    """An endless stream of samples.

    Each epoch uses every case once, in a new random order, so that all cases are used almost equally often.
    """

    seed: int
    fold: int
    cases: int
    purpose: int = 0
    """Separates the streams of one fold, and other uses of random numbers."""

    def rng(self, index: int) -> np.random.Generator:
        """Return the random generator for all draws of sample ``index``."""
        return np.random.default_rng([self.seed, self.fold, self.purpose, 0, index])

    def second_rng(self, index: int) -> np.random.Generator:
        """Return the random generator for the second view of sample ``index``."""
        return np.random.default_rng([self.seed, self.fold, self.purpose, 2, index])

    def case(self, index: int) -> int:
        """Return the index of the case of sample ``index``."""
        epoch, position = divmod(index, self.cases)
        order = np.random.default_rng([self.seed, self.fold, self.purpose, 1, epoch]).permutation(self.cases)
        return int(order[position])


class Sampler(Protocol):
    """Chooses the position of a patch in a case."""

    def __call__(
        self, case: StoredCase, patch: Triple, *, position: int, batch: int, rng: np.random.Generator
    ) -> Triple:
        """Return the first voxel of the patch; it can lie outside an image that is smaller than the patch."""
        ...


@runtime_checkable
class CaseSampler(Protocol):
    """Chooses also the case, based on the classes in the cases of a fold."""

    def choose(
        self, case: int, holders: Holders, *, position: int, batch: int, rng: np.random.Generator
    ) -> tuple[int, Sampler]:
        """Return the case of a sample (``case`` or another) and the sampler of the patch in it."""
        ...


@samplers.register("foreground")
@dataclass(frozen=True)
class ForegroundSampler:
    """Uniform patches, but the last part (``fraction``) of each batch is centred on voxels of classes of the case.

    nnU-Net's rule: with ``fraction`` 0.33, 1 of 2 or 3 of 9 samples are guaranteed to contain foreground.
    """

    fraction: float = 0.33

    def __post_init__(self) -> None:
        check_share("fraction", self.fraction)

    def __call__(
        self, case: StoredCase, patch: Triple, *, position: int, batch: int, rng: np.random.Generator
    ) -> Triple:
        """Draw a patch for the sample at ``position`` in a batch of ``batch`` samples."""
        if case.foreground and forced(self.fraction, position=position, batch=batch):
            classes = sorted(case.foreground)
            voxels = case.foreground[classes[rng.integers(len(classes))]]
            return around(voxels[rng.integers(len(voxels))], case.shape, patch)
        return somewhere(case, patch, rng)


@samplers.register("uniform")
@dataclass(frozen=True)
class UniformSampler:
    """Uniform patches in the image."""

    def __call__(
        self, case: StoredCase, patch: Triple, *, position: int, batch: int, rng: np.random.Generator
    ) -> Triple:
        """Draw a patch; the position in the batch has no effect."""
        return somewhere(case, patch, rng)


def forced(fraction: float, *, position: int, batch: int) -> bool:
    """Return whether the sample at ``position`` belongs to the part of a batch with guaranteed foreground."""
    return position >= round(batch * (1 - fraction))


def first_and_last(shape: Triple, patch: Triple) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and last start of a patch: inside the image, or with the image in the middle of the patch."""
    room = np.subtract(shape, patch)
    first = np.where(room < 0, room // 2, 0)
    return first, np.where(room < 0, first, room)


def somewhere(case: StoredCase, patch: Triple, rng: np.random.Generator) -> Triple:
    """Draw a patch start uniformly; if a case has ignored voxels, around a voxel that is not ignored (nnU-Net)."""
    if case.annotated is None:
        return anywhere(case.shape, patch, rng)
    return around(case.annotated[rng.integers(len(case.annotated))], case.shape, patch)


def anywhere(shape: Triple, patch: Triple, rng: np.random.Generator) -> Triple:
    """Draw a patch start uniformly."""
    first, last = first_and_last(shape, patch)
    z, y, x = (int(n) for n in rng.integers(first, last + 1))
    return z, y, x


def around(voxel: Sequence[int] | np.ndarray, shape: Triple, patch: Triple) -> Triple:
    """Return the start of the patch with centre ``voxel``, shifted to lie inside the image if possible."""
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
    """Read the same box of the previous stage's label map, [*size] int16; None if the case has no such map."""
    if case.previous is None:
        return None
    labels = np.zeros(size, dtype=np.int16)
    inside = _inside(case, start, size)
    if inside:
        source, target = inside
        labels[target] = case.previous[source]
    return labels


def _inside(case: StoredCase, start: Triple, size: Triple) -> tuple[tuple[slice, ...], tuple[slice, ...]] | None:
    """Return slices of the intersection of box and case, in the case and in the box; None if it is empty."""
    low = np.maximum(start, 0)
    high = np.minimum(np.add(start, size), case.shape)
    if not (high > low).all():
        return None
    source = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return source, tuple(slice(int(a - s), int(b - s)) for a, b, s in zip(low, high, start, strict=True))


class _ArgumentError(PlanError):
    """An argument of a sampler is out of range."""

    def __init__(self, argument: str, complaint: str) -> None:
        super().__init__(f"samplers, argument '{argument}': {complaint}")
        self.argument, self.complaint = argument, complaint


def check_share(argument: str, value: float) -> None:
    """Raise :class:`PlanError` with the name of the argument if its value is outside 0…1."""
    if not 0 <= value <= 1:
        raise _ArgumentError(argument, f"found {value:g}, expected 0 to 1")


def build_sampler(spec: Mapping[str, Any], *, place: str = "field 'sampling") -> Sampler | CaseSampler:
    """Build the sampler of a plan; ``place`` is the first part of the message if it raises :class:`PlanError`."""
    try:
        sampler: Sampler | CaseSampler = samplers.build(spec)
    except _ArgumentError as error:
        raise PlanError(f"{place}.{error.argument}', {error.complaint}") from None
    except PlanError as error:
        raise PlanError(f"{place}': {error}") from None
    return sampler
