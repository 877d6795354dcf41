"""Batches of training samples, read by this process or by workers."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.utils.data import DataLoader

from autoseg.errors import WorkerError
from autoseg.learning.batch import Batch, Sample
from autoseg.learning.interrupts import STOP_SIGNALS
from autoseg.learning.patches import Sources

MOST_WORKERS = 8
"""Maximum number of loader workers by default; reading patches is little work."""


def batches(sources: Sources, *, first: int, device: torch.device, workers: int) -> Iterator[dict[str, Batch]]:
    """Yield batches ``first``, ``first + 1``, … of each stream, read by ``workers`` processes (0: by this process)."""
    for samples in _read(sources, first, workers):
        yield sources.to_device(samples, device)


def loader_workers(asked: int | None, sources: Sources) -> int:
    """Choose the number of loader workers.

    It is 0 if there is nothing to read, or if the cases are in memory and no transform runs in the loader.
    """
    if not sources.streams:
        return 0
    if asked is not None:
        return asked
    if all(source.cases.in_memory and source.transform is None for source in sources.streams.values()):
        return 0
    from autoseg.system.execution import default_workers

    return min(MOST_WORKERS, default_workers())


def _read(sources: Sources, first: int, workers: int) -> Iterator[dict[str, list[Sample]]]:
    if workers == 0:
        while True:
            yield sources[first]
            first += 1
    loader: DataLoader[dict[str, list[Sample]]] = DataLoader(
        sources,
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
