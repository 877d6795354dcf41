"""Number of available processors, and OpenMP settings for machines shared with other programs.

Measured on two cores with AVX2, in training steps per second of small U-Nets (benchmarks/busy_machine.py), while one
other process computes. With OpenMP's default settings, the speed is 2 to 14 % of that on an idle machine: threads wait
for each other by spinning, and the kernel may run both on one core. With each thread bound to its own core and at most
half a millisecond of spinning, the speed is 43 to 49 %; the fair share is 50 %. An idle machine does not get slower.
"""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from pathlib import Path

from autoseg.system.memory import cgroup_folders

logger = logging.getLogger("autoseg")

SPINS = "10000"
"""GOMP_SPINCOUNT: number of spins while a thread waits, about half a millisecond (GNU OpenMP's default is 300,000).
Values of 1,000 or fewer make an idle machine 10 to 40 % slower, because threads sleep between operations."""
_WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME")
_PLACES = ("OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY")
"""Environment variables with user settings for thread binding; if one is set, this module does not bind threads."""
_THREADS = Path("/proc/self/task")
_MOST_TRIES = 5
_ADDITIONS = 50
"""Additions that keep the OpenMP threads busy for some milliseconds, to identify them."""

_state = threading.local()


def processors() -> int:
    """Return the number of available processors: the smaller of the CPU affinity and the cgroup quota."""
    quotas = (_processors_of(folder) for folder in cgroup_folders("cpu"))
    return max(1, min([_in_affinity(), *(quota for quota in quotas if quota is not None)]))


def prepare_openmp(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set OpenMP's spin count and number of threads, before OpenMP is loaded; user settings have priority.

    Processes started later inherit the settings.
    """
    if not any(name in environment for name in _WAITING):
        environment["GOMP_SPINCOUNT"] = SPINS
    if processors() < _in_affinity():
        # OpenMP respects the CPU affinity, but not a cgroup quota.
        environment.setdefault("OMP_NUM_THREADS", str(processors()))


def warn_of_many_threads() -> None:
    """Warn if OMP_NUM_THREADS exceeds the number of available processors, which makes all threads slower."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked) > processors():
        logger.warning(
            "OMP_NUM_THREADS is %s, but this process may use only %d processors; more threads than processors are "
            "slower: unset it, or set at most %d",
            asked,
            processors(),
            processors(),
        )


@contextmanager
def own_cores() -> Iterator[None]:
    """Bind each computing thread to its own core while the block runs.

    This applies only on Linux, and only if the threads use all available processors. After the block, the calling
    thread may run on any core again; so may threads and processes that it starts later.
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
    """Return the cores to bind the computing threads to; None if the threads must not be bound."""
    import torch

    if not hasattr(os, "sched_setaffinity") or any(name in os.environ for name in _PLACES):
        return None
    cores = sorted(os.sched_getaffinity(threading.get_native_id()))
    return cores if 1 < len(cores) == torch.get_num_threads() else None


def _has_bound_team(cores: list[int]) -> bool:
    """Find and bind the OpenMP threads of the calling thread, once; return whether they were found."""
    tries = getattr(_state, "tries", 0)
    if getattr(_state, "team", None) is None and tries < _MOST_TRIES:
        _state.tries, _state.team = tries + 1, _team(len(cores) - 1)
        for thread, core in zip(_state.team or (), cores[1:], strict=False):
            _bind(thread, {core})
    return getattr(_state, "team", None) is not None


def _team(size: int) -> list[int] | None:
    """Return the threads that are busy during a parallel addition; None if their number is not ``size``."""
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
    """Return the processor time of each thread of this process, in seconds, by kernel thread number."""
    found = {}
    for folder in _THREADS.iterdir() if _THREADS.is_dir() else ():
        with suppress(OSError, ValueError, IndexError):
            found[int(folder.name)] = int((folder / "schedstat").read_text().split()[0]) / 1e9
    return found


def _bind(thread: int, cores: set[int]) -> None:
    # The core may no longer be available to this process; then the kernel decides.
    with suppress(OSError):
        os.sched_setaffinity(thread, cores)


def _in_affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processors_of(folder: Path) -> int | None:
    """Return the processors of a cgroup's quota, in version 2 or version 1; None if it has no quota."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{what}_us").read_text() for what in ("quota", "period"))
        return math.ceil(int(quota) / int(period)) if int(quota) > 0 else None
    except (OSError, ValueError):
        return None
