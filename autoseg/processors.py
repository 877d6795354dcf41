"""The processors that this process may use, and how OpenMP's threads share them with other programs.

Seen on two cores with AVX2, in steps a second of small U-Nets (benchmarks/busy_machine.py): beside one other computing
process, threads as OpenMP starts them make 2 to 14 % of what they make on a quiet machine, as they wait for each other
by spinning and the kernel may put both on one core. Threads that keep to a core of their own, and spin for half a
millisecond at most, make 43 to 49 %, where half of the machine is the fair share; a quiet machine loses nothing.
"""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from pathlib import Path

from autoseg.memory import cgroup_folders

logger = logging.getLogger("autoseg")

SPINS = "10000"
"""Turns for which a thread of GNU's OpenMP waits awake for the others, half a millisecond; by default 300,000. 1,000
and fewer cost a quiet machine 10 to 40 %, as threads then sleep and wake between any two operations."""
_WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME")
_PLACES = ("OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY")
"""Variables by which a user decides what is decided here otherwise."""
_THREADS = Path("/proc/self/task")
_MOST_TRIES = 5
_ADDITIONS = 50
"""Some milliseconds of work for the threads that are looked for."""

_state = threading.local()


def processors() -> int:
    """Return the processors that this process may use: its affinity or its cgroup's quota, whichever is smaller."""
    quotas = (_processors_of(folder) for folder in cgroup_folders("cpu"))
    return max(1, min([_in_affinity(), *(quota for quota in quotas if quota is not None)]))


def prepare_openmp(environment: MutableMapping[str, str] = os.environ) -> None:
    """Say to OpenMP, before it starts, how long threads wait awake and how many there are; what a user says wins.

    Processes that are started later inherit it.
    """
    if not any(name in environment for name in _WAITING):
        environment["GOMP_SPINCOUNT"] = SPINS
    if processors() < _in_affinity():
        # OpenMP sees the processors of its affinity, not a quota.
        environment.setdefault("OMP_NUM_THREADS", str(processors()))


def warn_of_many_threads() -> None:
    """Warn where a user asks for more threads than there are processors, which slows all of them down."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked) > processors():
        logger.warning(
            "OMP_NUM_THREADS is %s, and this process may use %d processors; more threads than processors wait for "
            "each other: unset it, or set at most %d",
            asked,
            processors(),
            processors(),
        )


@contextmanager
def own_cores() -> Iterator[None]:
    """Keep each of the threads that compute to a core of its own while the block runs.

    Only where they use all processors that this process may use, and only on Linux. Afterwards the calling thread may
    run on any core again, and so may the threads and processes that it starts then.
    """
    cores = _cores()
    if cores is None or getattr(_state, "is_bound", False) or not _has_bound_team(cores):
        yield
        return
    _state.is_bound = True
    _bind(0, {cores[0]})
    try:
        yield
    finally:
        _bind(0, set(cores))
        _state.is_bound = False


def _cores() -> list[int] | None:
    """Return the cores for the threads that compute; None where they stay where the kernel puts them."""
    import torch

    if not hasattr(os, "sched_setaffinity") or any(name in os.environ for name in _PLACES):
        return None
    cores = sorted(os.sched_getaffinity(threading.get_native_id()))
    return cores if 1 < len(cores) == torch.get_num_threads() else None


def _has_bound_team(cores: list[int]) -> bool:
    """Bind the threads of OpenMP that help the calling one, once they are found; tell whether they are."""
    tries = getattr(_state, "tries", 0)
    if getattr(_state, "team", None) is None and tries < _MOST_TRIES:
        _state.tries, _state.team = tries + 1, _team(len(cores) - 1)
        for thread, core in zip(_state.team or (), cores[1:], strict=False):
            _bind(thread, {core})
    return getattr(_state, "team", None) is not None


def _team(size: int) -> list[int] | None:
    """Return the threads that work while this one adds numbers in parallel; None where others work at the same time."""
    import torch

    before, this = _seconds_run(), threading.get_native_id()
    numbers = torch.ones(size + 1, 65536)
    for _ in range(_ADDITIONS):
        numbers.add_(1)
    worked = {thread: run - before.get(thread, 0.0) for thread, run in _seconds_run().items()}
    least = 0.3 * worked.pop(this, math.inf)
    team = sorted(thread for thread, run in worked.items() if run > least)
    return team if len(team) == size else None


def _seconds_run() -> dict[int, float]:
    """Return the processor time of each thread of this process, by the kernel's number of it."""
    found = {}
    for folder in _THREADS.iterdir() if _THREADS.is_dir() else ():
        with suppress(OSError, ValueError, IndexError):
            found[int(folder.name)] = int((folder / "schedstat").read_text().split()[0]) / 1e9
    return found


def _bind(thread: int, cores: set[int]) -> None:
    # A core may have been taken from this process meanwhile; then the kernel decides.
    with suppress(OSError):
        os.sched_setaffinity(thread, cores)


def _in_affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processors_of(folder: Path) -> int | None:
    """Processors that a cgroup grants, in version 2 or version 1; None where it sets no quota."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{what}_us").read_text() for what in ("quota", "period"))
        return math.ceil(int(quota) / int(period)) if int(quota) > 0 else None
    except (OSError, ValueError):
        return None
