"""Reading, computing and writing of cases, each stage working on another case, within a number of bytes."""

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
"""Cases that are read before a device is free, and that wait to be written, for each device: a stage works on one at a
time, so that more of them would take memory and save no time."""


@dataclass(frozen=True)
class Stages(Generic[Case, Read, Computed]):
    """What is done with a case."""

    need: Callable[[Case], int]
    """Bytes that a case takes until it is written, at most."""
    read: Callable[[Case], Read]
    compute: Sequence[Callable[[Case, Read], Computed]]
    """One for each device; they share the cases."""
    write: Callable[[Case, Computed], None]
    finished: Callable[[Case, AutosegError | None], None]
    """Called once for each case, by one thread at a time, with what it failed with."""


def run_stages(cases: Sequence[Case], stages: Stages[Case, Read, Computed], *, budget: int) -> None:
    """Read, compute and write every case.

    A case is read when its bytes fit into ``budget`` beside those of the cases in flight, or when there are none. What
    the user can mend of one case leaves the others alone, except for a fault of writing that is not the image's: a full
    disk ends the run, since the next case would meet it too. So does any other error.
    """
    devices = len(stages.compute)
    with ThreadPoolExecutor(devices, "reader") as reader, ThreadPoolExecutor(devices, "writer") as writer:
        line = _Line(stages, reader, writer, budget, deque(cases))
        others = [threading.Thread(target=line.work, args=(compute,)) for compute in stages.compute[1:]]
        try:
            for other in others:
                other.start()
            # The first device works in this thread, where an interrupt arrives.
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
    """A case that is in flight."""

    case: Case
    need: int
    reading: Future[Read]


@dataclass
class _Line(Generic[Case, Read, Computed]):
    """Where every case is; threads look at it and change it one at a time."""

    stages: Stages[Case, Read, Computed]
    reader: ThreadPoolExecutor
    writer: ThreadPoolExecutor
    budget: int
    waiting: deque[Case]
    ahead: deque[_Begun[Case, Read]] = field(default_factory=deque)
    """Read or being read, and not being computed."""
    in_flight: list[int] = field(default_factory=list)
    """Bytes of each case."""
    stopped: bool = False
    error: BaseException | None = None
    changed: threading.Condition = field(default_factory=threading.Condition)

    def work(self, compute: Callable[[Case, Read], Computed]) -> None:
        """Compute cases on one device until none is left."""
        try:
            while (begun := self._next()) is not None:
                self._compute(compute, begun)
                # Else it would keep the case's arrays while the next one is awaited.
                del begun
        except Exception as error:
            self.stop(error)

    def wait_until_written(self) -> None:
        """Return when no case is in flight, or the run has been stopped."""
        with self.changed:
            self.changed.wait_for(lambda: self.stopped or not self.in_flight)

    def stop(self, error: BaseException | None = None) -> None:
        """Begin nothing any more; the first ``error`` is kept."""
        with self.changed:
            self.stopped, self.error = True, self.error or error
            for begun in self.ahead:
                begun.reading.cancel()
            self.ahead.clear()
            self.changed.notify_all()

    def _next(self) -> _Begun[Case, Read] | None:
        """Wait for a case to compute and return it; None when there is none any more."""
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
        """Begin to read as many cases as there is room for."""
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
        """Make the room of a case free."""
        with self.changed:
            self.in_flight.remove(need)
            try:
                self.stages.finished(case, error)
            finally:
                self.changed.notify_all()
