"""Worker processes; if a process dies, the pool reports its case immediately instead of waiting forever.

``concurrent.futures`` marks the whole pool as broken if one process dies. This pool reports the case, the signal and
the memory that the case needs, and it starts no more cases than fit into memory.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any

from autoseg.errors import AutosegError, WorkerError, one_line
from autoseg.system.memory import available_memory, format_bytes

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)
_SECONDS_TO_END = 2.0


@dataclass(frozen=True)
class Failure:
    """Reply of a worker whose function raised an error."""

    error: BaseException | None
    """The error itself if the user can fix it, else None."""
    summary: str
    traceback: str


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    item: int | None = None
    """Index of the item in work; None if the worker is idle."""


class WorkerPool:
    """Spawned processes that call one function, each connected by its own pipe."""

    def __init__(self, function: Callable[[Any], Any], workers: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        with _one_thread_each():
            for _ in range(workers):
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(theirs, function), daemon=True)
                process.start()
                theirs.close()
                self._workers.append(_Worker(process, ours))

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.connection.close()
            if error is not None:
                worker.process.terminate()
        for worker in self._workers:
            worker.process.join(_SECONDS_TO_END)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()

    def run(
        self,
        items: Sequence[Any],
        *,
        names: Sequence[str],
        needs: Sequence[int],
        budget: int,
        progress: Callable[[str], None] | None,
    ) -> list[Any]:
        """Process all items and return the results in order. Items that run at once need at most ``budget`` bytes."""
        results: dict[int, Any] = {}
        following = 0
        while len(results) < len(items):
            following = self._hand_out(items, following, needs, budget)
            busy = [worker for worker in self._workers if worker.item is not None]
            for worker in _ready(busy):
                index = worker.item
                if index is None:
                    continue
                results[index] = _receive(worker, names[index], needs[index])
                worker.item = None
                if progress:
                    progress(names[index])
        return [results[index] for index in range(len(items))]

    def _hand_out(self, items: Sequence[Any], following: int, needs: Sequence[int], budget: int) -> int:
        """Send the next items to idle workers as far as memory permits; at least one item always runs."""
        for worker in self._workers:
            if worker.item is not None or following == len(items):
                continue
            running = [other.item for other in self._workers if other.item is not None]
            if running and sum(needs[index] for index in running) + needs[following] > budget:
                break
            worker.item = following
            # If the worker died while idle, waiting for its answer reports it.
            with suppress(OSError):
                worker.connection.send(items[following])
            following += 1
        return following


def _ready(workers: Sequence[_Worker]) -> Iterator[_Worker]:
    """Wait until a worker has answered or died, and yield each that has."""
    connections: list[Any] = [worker.connection for worker in workers]
    happened = wait(connections + [worker.process.sentinel for worker in workers])
    for worker in workers:
        if worker.connection in happened or worker.process.sentinel in happened:
            yield worker


def _receive(worker: _Worker, name: str, need: int) -> Any:
    """Return a worker's answer; raise an error if its function failed or its process died."""
    try:
        answer = worker.connection.recv() if worker.connection.poll() else None
    except (EOFError, OSError):
        answer = None
    if answer is None:
        worker.process.join(_SECONDS_TO_END)
        raise _death(name, worker.process.exitcode, need)
    result = answer[0]
    if not isinstance(result, Failure):
        return result
    if result.error is not None:
        raise result.error
    error = WorkerError(f"case {name}: {result.summary}; run again with --debug for the whole traceback")
    error.__cause__ = RuntimeError(f"in the worker:\n{result.traceback}")
    raise error


def _death(name: str, code: int | None, need: int) -> WorkerError:
    """Return the error for a dead worker; for SIGKILL, usually caused by missing memory, with the needed memory."""
    if code is None or code >= 0:
        return WorkerError(f"case {name}: its worker process ended with exit code {code}; try --workers 0 to see why")
    how = signal.Signals(-code).name
    if -code != signal.SIGKILL:
        return WorkerError(f"case {name}: its worker process was ended by {how}; try --workers 0 to see why")
    needed = f"the case needs about {format_bytes(need)} and " if need else ""
    return WorkerError(
        f"case {name}: its worker process was killed ({how}), most likely because memory ran out: {needed}"
        f"{format_bytes(available_memory())} are free now; run again with fewer --workers"
    )


def _serve(connection: Connection, function: Callable[[Any], Any]) -> None:
    """Process items until the pipe is closed; the pipe also closes when the parent process dies."""
    # Ctrl-C reaches every process of a terminal; only the parent handles it and then stops its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            item = connection.recv()
        except (EOFError, OSError):
            return
        try:
            answer: Any = function(item)
        except AutosegError as error:
            answer = Failure(error, str(error), "")
        except Exception as error:
            answer = Failure(None, one_line(error), traceback.format_exc())
        try:
            connection.send((answer,))
        except OSError:
            return
        except Exception as error:  # The result cannot be pickled: report it as a failure of this case.
            connection.send((Failure(None, one_line(error), traceback.format_exc()),))


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Limit libraries in the workers to one thread each, because there is already one worker for each core."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update({name: before[name] or "1" for name in _THREAD_VARIABLES})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
