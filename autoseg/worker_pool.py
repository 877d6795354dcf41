"""Worker processes that are never waited for in vain: whoever dies, the case it had is known at once."""

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

from autoseg.errors import AutosegError, WorkerError
from autoseg.execution import one_line
from autoseg.memory import available_memory, format_bytes

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)
_SECONDS_TO_END = 2.0


@dataclass(frozen=True)
class Failure:
    """What a worker sends back where its function raised something."""

    error: BaseException | None
    """The error itself where the user can mend it."""
    summary: str
    traceback: str


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    item: int | None = None
    """Which item it has, if any."""


class WorkerPool:
    """Spawned processes, each with a pipe of its own, that call one function."""

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
        """Have every item worked on; return the results in order. What runs at once needs no more than ``budget``."""
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
        """Give idle workers the next items as far as memory goes; one at least always runs."""
        for worker in self._workers:
            if worker.item is not None or following == len(items):
                continue
            running = [other.item for other in self._workers if other.item is not None]
            if running and sum(needs[index] for index in running) + needs[following] > budget:
                break
            worker.item = following
            # A worker that died while idle is found out when its answer is waited for.
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
    """Take a worker's answer; raise what it failed with, or that it died."""
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
    """Say how a worker died, and for SIGKILL, which mostly means that memory ran out, how much was needed."""
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
    """Work until the pipe is closed, which the death of the parent does as well."""
    # Ctrl-C reaches every process of a terminal; the parent decides what becomes of it.
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
        except Exception as error:  # A result that cannot be pickled is the function's fault, and belongs to the case.
            connection.send((Failure(None, one_line(error), traceback.format_exc()),))


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Keep libraries in the workers from starting a thread for each core: there is a worker for each already."""
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
