"""Running a function over cases: in this process, in processes of our own, or on somebody's executor."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeVar

from autoseg.errors import AutosegError, WorkerError
from autoseg.memory import available_memory
from autoseg.processors import processors

T = TypeVar("T")
R = TypeVar("R")

logger = logging.getLogger("autoseg.execution")


def map_cases(
    function: Callable[[T], R],
    items: Sequence[T],
    *,
    names: Sequence[str],
    workers: int,
    memory_needed: Callable[[T], int] | None = None,
    progress: Callable[[str], None] | None = None,
    executor: Executor | None = None,
) -> list[R]:
    """Call ``function`` with each item and return the results in the order of the items.

    ``workers`` processes do it, or this one where it is 0; ``executor``, such as that of a Dask client, comes before
    both. ``names`` are the cases', for messages. ``memory_needed`` estimates the bytes an item takes: no more items run
    at once than fit. A fault the user can mend passes through as it is; any other failure, and the death of a worker,
    is a :class:`WorkerError` that names the case.
    """
    if executor is not None:
        return _on_executor(function, items, names, progress, executor)
    if workers == 0 or len(items) <= 1:
        return [_named(partial(function, item), name, progress) for item, name in zip(items, names, strict=True)]
    from autoseg.worker_pool import WorkerPool

    budget = available_memory()
    needs = [memory_needed(item) if memory_needed else 0 for item in items]
    with WorkerPool(function, min(workers, len(items))) as pool:
        return pool.run(items, names=names, needs=needs, budget=budget, progress=progress)


def default_workers() -> int:
    """Return the number of worker processes: one for each processor that this process may use."""
    return processors()


def one_line(error: BaseException) -> str:
    """Write an error with its type on one line; libraries spread theirs over several."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def case_error(name: str, error: BaseException) -> WorkerError:
    """Say which case a function failed on, and how; the whole traceback stays attached."""
    failed = WorkerError(f"case {name}: {one_line(error)}; run again with --debug for the whole traceback")
    failed.__cause__ = error
    return failed


def _named(compute: Callable[[], R], name: str, progress: Callable[[str], None] | None) -> R:
    """Return what ``compute`` does for the case ``name``, whose failure names it."""
    try:
        result = compute()
    except AutosegError:
        raise
    except Exception as error:
        raise case_error(name, error) from error
    if progress:
        progress(name)
    return result


def _on_executor(
    function: Callable[[T], R],
    items: Sequence[T],
    names: Sequence[str],
    progress: Callable[[str], None] | None,
    executor: Executor,
) -> list[R]:
    futures = [executor.submit(function, item) for item in items]
    results: list[Any] = []
    try:
        for future, name in zip(futures, names, strict=True):
            results.append(_named(future.result, name, progress))
    finally:
        for future in futures:
            future.cancel()
    return results
