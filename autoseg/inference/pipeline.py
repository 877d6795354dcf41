"""Read, compute and write cases in parallel stages, within a memory budget."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from autoseg.errors import AutosegError, ImageError

Case = TypeVar("Case")
Read = TypeVar("Read")
Computed = TypeVar("Computed")

AHEAD = 2
"""Maximum number of cases per device that are read in advance, and that wait for writing. Each stage works on one case
at a time, so a larger number needs more memory and saves no time."""


@dataclass(frozen=True)
class Stages(Generic[Case, Read, Computed]):
    """The functions that process a case."""

    need: Callable[[Case], int]
    """Returns the maximum bytes that a case needs until it is written."""
    read: Callable[[Case], Read]
    compute: Sequence[Callable[[Case, Read], Computed]]
    """One function for each device; the devices share the cases."""
    write: Callable[[Case, Computed], None]
    finished: Callable[[Case, AutosegError | None], None]
    """Called once for each case, by one thread at a time; the second argument is the error, or None on success."""


def run_stages(cases: Sequence[Case], stages: Stages[Case, Read, Computed], *, budget: int) -> None:
    """Read, compute and write every case.

    Reading of a case starts when its bytes and those of the cases in progress fit into ``budget``, or when no case is
    in progress. An :class:`AutosegError` from reading or computing, and an :class:`ImageError` from writing, fail only
    that case. Any other error ends the run, for example a full disk, because the next case would fail too.
    """
    devices = len(stages.compute)
    with ThreadPoolExecutor(devices, "reader") as reader, ThreadPoolExecutor(devices, "writer") as writer:
        line = _Line(stages, reader, writer, budget, deque(cases))
        others = [threading.Thread(target=line.work, args=(compute,)) for compute in stages.compute[1:]]
        try:
            for other in others:
                other.start()
            # The first device runs in this thread, because interrupts arrive in the main thread.
            line.work(stages.compute[0])
            line.wait_until_written()
        finally:
            line.stop()
            for other in others:
                other.join()
    if line.error:
        raise line.error


@dataclass(frozen=True)
class _Begun(Generic[Case, Read]):
    """A case in progress."""

    case: Case
    need: int
    reading: Future[Read]


@dataclass
class _Line(Generic[Case, Read, Computed]):
    """State of all cases; ``changed`` locks it, so that one thread at a time reads or changes it."""

    stages: Stages[Case, Read, Computed]
    reader: ThreadPoolExecutor
    writer: ThreadPoolExecutor
    budget: int
    waiting: deque[Case]
    ahead: deque[_Begun[Case, Read]] = field(default_factory=deque)
    """Cases whose reading has started and whose computation has not."""
    in_flight: list[int] = field(default_factory=list)
    """Bytes of each case in progress."""
    stopped: bool = False
    error: BaseException | None = None
    changed: threading.Condition = field(default_factory=threading.Condition)

    def work(self, compute: Callable[[Case, Read], Computed]) -> None:
        """Compute cases on one device until none is left."""
        try:
            while (begun := self._next()) is not None:
                self._compute(compute, begun)
                # Free the case's arrays before waiting for the next case.
                del begun
        except Exception as error:
            self.stop(error)

    def wait_until_written(self) -> None:
        """Wait until no case is in progress or the run is stopped."""
        with self.changed:
            self.changed.wait_for(lambda: self.stopped or not self.in_flight)

    def stop(self, error: BaseException | None = None) -> None:
        """Stop the run: start no further case, and keep the first ``error``."""
        with self.changed:
            self.stopped, self.error = True, self.error or error
            for begun in self.ahead:
                begun.reading.cancel()
            self.ahead.clear()
            self.changed.notify_all()

    def _next(self) -> _Begun[Case, Read] | None:
        """Wait for a case to compute and return it; return None if no case remains."""
        with self.changed:
            while not self.stopped:
                self._admit()
                if self.ahead:
                    begun = self.ahead.popleft()
                    self._admit()
                    return begun
                if not self.waiting:
                    return None
                self.changed.wait()
        return None

    def _admit(self) -> None:
        """Start reading as many cases as the budget allows."""
        devices = len(self.stages.compute)
        most = devices * (AHEAD + 1 + AHEAD)
        while self.waiting and len(self.ahead) < AHEAD * devices and len(self.in_flight) < most:
            need = self.stages.need(self.waiting[0])
            if self.in_flight and sum(self.in_flight) + need > self.budget:
                return
            case = self.waiting.popleft()
            self.in_flight.append(need)
            self.ahead.append(_Begun(case, need, self.reader.submit(self.stages.read, case)))

    def _compute(self, compute: Callable[[Case, Read], Computed], begun: _Begun[Case, Read]) -> None:
        try:
            computed = compute(begun.case, begun.reading.result())
        except AutosegError as error:
            self._leave(begun.case, begun.need, error)
        else:
            self.writer.submit(self._write, begun.case, begun.need, computed)

    def _write(self, case: Case, need: int, computed: Computed) -> None:
        try:
            fault = None
            try:
                self.stages.write(case, computed)
            except ImageError as error:
                fault = error
            self._leave(case, need, fault)
        except Exception as error:
            self.stop(error)

    def _leave(self, case: Case, need: int, error: AutosegError | None) -> None:
        """Release the bytes of a case and report it as finished."""
        with self.changed:
            self.in_flight.remove(need)
            try:
                self.stages.finished(case, error)
            finally:
                self.changed.notify_all()
