"""Batches of training samples: read by this process or by workers, augmented on the training device."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from autoseg.augmentation import Augmentation, Parameters
from autoseg.errors import WorkerError
from autoseg.learning.interrupts import STOP_SIGNALS
from autoseg.preprocessing.store import StoredCase, open_case
from autoseg.sampling.stream import CaseSampler, Holders, Sampler, Stream, read_previous, read_region
from autoseg.system.memory import available_memory

CACHE_SHARE = 0.3
"""Largest share of the available memory for decoded cases."""
MOST_WORKERS = 8
"""Maximum number of loader workers by default; reading patches is little work."""
OPEN_CASES = 64
"""Number of cases that a worker keeps open, so that a read does not open the files again."""

MOST_SEEDS = 2**63
"""Upper bound of seeds; it is so large that two samples of a training hardly ever get the same seed."""

LoaderTransform = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Sample:
    """One patch before augmentation: image [C,*size], labels [*size], and the parameters of its augmentation.

    ``annotated`` [outputs] bool as in :class:`Batch`.
    """

    image: np.ndarray
    labels: np.ndarray
    parameters: Parameters
    previous: np.ndarray | None = None
    """Label map [*size] of the previous stage; None without a previous stage."""
    annotated: np.ndarray | None = None
    seed: int = 0
    """Seed of the random numbers that a network draws while it trains on the sample."""


@dataclass(frozen=True)
class Batch:
    """Images [B,C,*patch] float32 and labels [B,*output] int64 on the training device; ignored voxels have label −1.

    The output is the patch, less the network's margin on each side.
    ``annotated`` [B,outputs] bool: classes that are annotated in each sample; None: all classes in all samples.
    ``seeds`` are the seeds of the samples; None in measurements of memory or time.
    """

    images: torch.Tensor
    labels: torch.Tensor
    annotated: torch.Tensor | None = None
    seeds: tuple[int, ...] | None = None


class Cases:
    """Preprocessed cases of a fold, decoded in memory if they fit."""

    def __init__(self, folder: Path, names: Sequence[str], *, in_memory: bool, previous: Path | None = None) -> None:
        self.folder, self.names, self.in_memory, self.previous = folder, tuple(names), in_memory, previous
        self._open = lru_cache(maxsize=None if in_memory else OPEN_CASES)(self._read)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> StoredCase:
        return self._open(index)

    def __getstate__(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in ("folder", "names", "in_memory", "previous")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def _read(self, index: int) -> StoredCase:
        case = open_case(self.folder, self.names[index], previous=self.previous)
        return case.decoded() if self.in_memory else case


def fits_in_memory(folder: Path, names: Sequence[str], *, previous: Path | None = None) -> bool:
    """Return whether the decoded cases fit into :data:`CACHE_SHARE` of the available memory."""
    needed = sum(open_case(folder, name, previous=previous).nbytes for name in names)
    return needed <= CACHE_SHARE * available_memory()


@dataclass(frozen=True)
class PatchSource(Dataset[list[Sample]]):
    """Training samples by number: sample i can be read for any i."""

    cases: Cases
    stream: Stream
    sampler: Sampler | CaseSampler
    augmentation: Augmentation
    patch: tuple[int, int, int]
    dimension: int
    batch_size: int
    transform: LoaderTransform | None = None
    annotated: np.ndarray | None = None
    """Annotated outputs of each case, [cases,outputs] bool; None: all outputs in all cases."""
    holders: Holders = field(default_factory=dict)
    """Cases that contain each class, for a sampler that chooses the case."""
    margin: tuple[int, int, int] = (0, 0, 0)
    """Voxels on each side of a patch that are input of the network but not part of its output."""

    def sample(self, index: int) -> Sample:
        """Read sample ``index``; all its random choices come from the stream's generator of this index."""
        rng = self.stream.rng(index)
        number, start = self._place(index, rng)
        case = self.cases[number]
        parameters = self.augmentation.sample(rng)
        size = self._size(self.augmentation.source_size(parameters))
        first = tuple(s - (n - p) // 2 for s, n, p in zip(start, size, self.patch, strict=True))
        image, labels = read_region(case, first, size)  # type: ignore[arg-type]
        previous = read_previous(case, first, size)  # type: ignore[arg-type]
        if previous is not None:
            # Spatial transforms treat both label maps as two channels of one label map.
            labels = np.stack([labels, previous])
        if self.dimension == 2:
            image, labels = image[:, 0], labels[..., 0, :, :]
        if self.transform:
            # The transform changes intensities; extra channels have no intensities.
            count = self.augmentation.layout.image
            changed, labels = self.transform(image[:count], labels, rng)
            image = np.concatenate([changed, image[count:]])
        annotated = None if self.annotated is None else self.annotated[number]
        before = None
        if previous is not None:
            labels, before = labels[0], self.augmentation.disturb(labels[1], rng)
        parameters = self.augmentation.without_channels(parameters, case.record.missing_channels, rng)
        # The seed is drawn last, so that all other random choices do not depend on the network.
        return Sample(image, labels, parameters, before, annotated, seed=int(rng.integers(MOST_SEEDS)))

    def _place(self, index: int, rng: np.random.Generator) -> tuple[int, tuple[int, int, int]]:
        """Choose the case of a sample and the first voxel (z, y, x) of its patch."""
        number, position, batch = self.stream.case(index), index % self.batch_size, self.batch_size
        sampler = self.sampler
        if isinstance(sampler, CaseSampler):
            number, sampler = sampler.choose(number, self.holders, position=position, batch=batch, rng=rng)
        z, y, x = (n - 2 * m for n, m in zip(self.patch, self.margin, strict=True))
        # The output region lies inside the image; the margin may lie outside.
        start = sampler(self.cases[number], (z, y, x), position=position, batch=batch, rng=rng)
        z, y, x = (s - m for s, m in zip(start, self.margin, strict=True))
        return number, (z, y, x)

    def _size(self, size: tuple[int, ...]) -> tuple[int, int, int]:
        z, y, x = (1, *size) if self.dimension == 2 else size
        return z, y, x

    def to_device(self, samples: Sequence[Sample], device: torch.device) -> Batch:
        """Move samples to the device and augment them there."""
        batch = to_device(samples, self.augmentation, device)
        inside = (slice(m, n - m) for n, m in zip(self.patch, self.margin, strict=True))
        return replace(batch, labels=batch.labels[(slice(None), *[*inside][3 - self.dimension :])])

    def __getitem__(self, batch: int) -> list[Sample]:
        first = batch * self.batch_size
        return [self.sample(index) for index in range(first, first + self.batch_size)]

    def __len__(self) -> int:
        raise TypeError("a stream has no end")


def batches(source: PatchSource, *, first: int, device: torch.device, workers: int) -> Iterator[Batch]:
    """Yield batches ``first``, ``first + 1``, … without end, read by ``workers`` processes (0: by this process)."""
    for samples in _read(source, first, workers):
        yield source.to_device(samples, device)


def to_device(samples: Sequence[Sample], augmentation: Augmentation, device: torch.device) -> Batch:
    """Move samples to the device and augment them there."""
    images = [torch.from_numpy(sample.image).to(device, non_blocking=True) for sample in samples]
    labels = [torch.from_numpy(sample.labels).to(device, non_blocking=True) for sample in samples]
    parameters = [sample.parameters for sample in samples]
    augmented, targets = augmentation.apply(images, labels, parameters, _previous(samples, device))
    known = [sample.annotated for sample in samples if sample.annotated is not None]
    annotated = augmentation.annotated(torch.from_numpy(np.stack(known)).to(device), parameters) if known else None
    return Batch(augmented, targets.long(), annotated, tuple(sample.seed for sample in samples))


def _previous(samples: Sequence[Sample], device: torch.device) -> list[torch.Tensor] | None:
    """Move the label maps of a previous stage to the device; None without a previous stage."""
    found = [sample.previous for sample in samples if sample.previous is not None]
    return [torch.from_numpy(labels).to(device, non_blocking=True) for labels in found] or None


def loader_workers(asked: int | None, source: PatchSource) -> int:
    """Choose the number of loader workers: 0 if the cases are in memory and no transform runs in the loader."""
    if asked is not None:
        return asked
    if source.cases.in_memory and source.transform is None:
        return 0
    from autoseg.system.execution import default_workers

    return min(MOST_WORKERS, default_workers())


def _read(source: PatchSource, first: int, workers: int) -> Iterator[list[Sample]]:
    if workers == 0:
        while True:
            yield source[first]
            first += 1
    loader: DataLoader[list[Sample]] = DataLoader(
        source,
        batch_size=None,
        sampler=_Endless(first),
        num_workers=workers,
        prefetch_factor=2,
        multiprocessing_context="spawn",
        worker_init_fn=_begin_worker,
    )
    try:
        yield from loader
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        reason = str(error).splitlines()[0]
        raise WorkerError(
            f"a loader worker died ({reason}); run again, with fewer --workers if memory ran out"
        ) from error


@dataclass(frozen=True)
class _Endless:
    first: int

    def __iter__(self) -> Iterator[int]:
        index = self.first
        while True:
            yield index
            index += 1


def _begin_worker(worker: int) -> None:
    """Limit a worker to one core, and ignore stop signals, so that training can save its state first."""
    torch.set_num_threads(1)
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
