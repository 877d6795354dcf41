"""Run a function over cases: in this process, in worker processes, or on a given executor."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

from autoseg.errors import AutosegError, WorkerError, one_line
from autoseg.system.memory import available_memory
from autoseg.system.processors import processors

T = TypeVar("T")
R = TypeVar("R")

logger = logging.getLogger("autoseg.system.execution")


@dataclass(frozen=True)
class CaseWork:
    """A function to call with each item; see :func:`map_cases`."""

    function: Callable[[Any], Any]
    items: Sequence[Any]
    names: Sequence[str]
    memory_needed: Callable[[Any], int] | None
    progress: Callable[[str], None] | None


class CaseExecutor(Protocol):
    """Runs a function over cases; callers do not know where the calls run."""

    def run(self, work: CaseWork) -> list[Any]:
        """Return the results in the order of the items; see :func:`map_cases`."""
        ...


@dataclass(frozen=True)
class LocalProcesses:
    """Runs the calls in processes of this machine, or in this process if ``workers`` is 0."""

    workers: int

    def run(self, work: CaseWork) -> list[Any]:
        """Return the results in the order of the items."""
        items, names = work.items, work.names
        if self.workers == 0 or len(items) <= 1:
            calls = zip(items, names, strict=True)
            return [_named(partial(work.function, item), name, work.progress) for item, name in calls]
        from autoseg.system.worker_pool import WorkerPool

        budget = available_memory()
        needs = [work.memory_needed(item) if work.memory_needed else 0 for item in items]
        with WorkerPool(work.function, min(self.workers, len(items))) as pool:
            return pool.run(items, names=names, needs=needs, budget=budget, progress=work.progress)


@dataclass(frozen=True)
class FuturesExecutor:
    """Runs the calls on an executor of ``concurrent.futures`` or with its interface, such as that of a Dask client."""

    executor: Executor

    def run(self, work: CaseWork) -> list[Any]:
        """Return the results in the order of the items; the executor itself bounds memory."""
        futures = [self.executor.submit(work.function, item) for item in work.items]
        results: list[Any] = []
        try:
            for future, name in zip(futures, work.names, strict=True):
                results.append(_named(future.result, name, work.progress))
        finally:
            for future in futures:
                future.cancel()
        return results


IN_THIS_PROCESS = LocalProcesses(0)


def local_executor(workers: int | None = None) -> CaseExecutor:
    """Return the executor of this machine, with one process for each processor if ``workers`` is None."""
    return LocalProcesses(default_workers() if workers is None else workers)


def map_cases(
    function: Callable[[T], R],
    items: Sequence[T],
    executor: CaseExecutor,
    *,
    names: Sequence[str],
    memory_needed: Callable[[T], int] | None = None,
    progress: Callable[[str], None] | None = None,
) -> list[R]:
    """Call ``function`` with each item on ``executor`` and return the results in the order of the items.

    ``names`` are the case names for messages. ``memory_needed`` estimates the bytes for an item and limits the number
    of items that run at once. An :class:`AutosegError`, which the user can fix, is raised unchanged. Any other failure,
    and the death of a worker, raises :class:`WorkerError` with the case name.
    """
    return executor.run(CaseWork(function, items, names, memory_needed, progress))


def default_workers() -> int:
    """Return the default number of worker processes: the number of processors available to this process."""
    return processors()


def case_error(name: str, error: BaseException) -> WorkerError:
    """Return an error with the case and the cause of a failure; the full traceback stays attached."""
    failed = WorkerError(f"case {name}: {one_line(error)}; run again with --debug for the whole traceback")
    failed.__cause__ = error
    return failed


def _named(compute: Callable[[], R], name: str, progress: Callable[[str], None] | None) -> R:
    """Return the result of ``compute`` for a case; an unexpected failure becomes an error with the case name."""
    try:
        result = compute()
    except AutosegError:
        raise
    except Exception as error:
        raise case_error(name, error) from error
    if progress:
        progress(name)
    return result
