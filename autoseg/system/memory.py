"""Available memory, and formatting of byte counts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")
_MEMORY_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Names of limit, usage and cached part of the usage, in cgroups version 2 and version 1."""


def available_memory() -> int:
    """Return the bytes that this process can still allocate: free memory of the machine, or less by cgroup limits."""
    left = (_left_in(folder) for folder in cgroup_folders("memory"))
    return max(0, min([_machine_memory(), *(count for count in left if count is not None)]))


def cgroup_folders(controller: str) -> Iterator[Path]:
    """Yield the folders of this process's cgroup and of its parent cgroups, for version 2 and version 1.

    A batch system sets limits on the job's cgroup, a container on its root cgroup. The limits of all levels apply.
    """
    try:
        lines = _MEMBERSHIP.read_text().splitlines()
    except OSError:
        lines = []
    mounts = {"": _CGROUP, controller: _CGROUP / controller}
    for line in lines or ["0::/"]:
        _, controllers, own = line.split(":", 2)
        mount = next((mounts[name] for name in controllers.split(",") if name in mounts), None)
        if mount is not None:
            # In a container, the path may be a path of the host that does not exist here; its parent folders exist.
            folder = mount / own.strip("/")
            yield from (each for each in (folder, *folder.parents) if each.is_relative_to(mount))


def _left_in(folder: Path) -> int | None:
    """Return the bytes left below a cgroup's limit. Cached files count as free: the kernel can release them."""
    for limit_name, used_name, cached_name in _MEMORY_FILES:
        limit, used = _read_number(folder / limit_name), _read_number(folder / used_name)
        if limit is not None and used is not None:
            return limit - used + _statistic(folder / "memory.stat", cached_name)
    return None


def _statistic(path: Path, name: str) -> int:
    try:
        return next(int(line.split()[1]) for line in path.read_text().splitlines() if line.split()[0] == name)
    except (OSError, ValueError, IndexError, StopIteration):
        return 0


def _machine_memory() -> int:
    if _MEMINFO.exists():
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _read_number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def format_bytes(count: float) -> str:
    """Format a number of bytes with a suitable unit: 512 MB, 7.8 GB."""
    for unit in ("bytes", "KB", "MB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GB"
