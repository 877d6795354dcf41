"""Resources for training: device, memory and time."""

from __future__ import annotations

from dataclasses import dataclass

from autoseg.system.devices import choose_device, computes_bfloat16, is_here
from autoseg.system.memory import available_memory

GIGABYTE = 1024**3

DEFAULT_CPU_MEMORY = 8 * GIGABYTE
"""Default memory on a CPU, in bytes: nnU-Net also plans for 8 GB. A CPU is too slow for patches that need more."""

GPU_HEADROOM = 0.9
"""Share of a GPU's free memory that a plan may use; the rest is for its context and the allocator's slack."""


@dataclass(frozen=True)
class Resources:
    """Resources that a plan may use."""

    device: str
    """Device name: ``cpu``, ``cuda``, ``cuda:1`` or ``mps``."""
    memory: int
    """Bytes for a training step."""
    bfloat16: bool
    """Whether the device computes bfloat16 natively."""
    time_budget: float | None = None
    """Seconds for one fold; None if the user sets no time."""
    is_here: bool = True
    """Whether this machine has the device, so that its speed can be measured."""
    speed: str | None = None
    """Speed to assume instead of this machine's; see :func:`autoseg.planners.speed.speed_of_machine`."""


def free_memory(device: str, target: int | None = None) -> int:
    """Return the bytes that a training step on ``device`` may use, at most ``target``."""
    import torch

    if device.startswith("cuda"):
        free = int(torch.cuda.mem_get_info(device)[0] * GPU_HEADROOM)
        return min(target or free, free)
    return min(target or DEFAULT_CPU_MEMORY, int(available_memory() * 0.7))


def detect(
    device: str = "auto",
    *,
    memory: int | None = None,
    target: int | None = None,
    time_budget: float | None = None,
    speed: str | None = None,
) -> Resources:
    """Detect the resources of this machine; ``memory`` (bytes) and ``time_budget`` (seconds) override them.

    ``target`` is the default memory in bytes, limited by the device's free memory. ``speed`` overrides the speed of
    this machine. With ``memory``, a plan can be made for a GPU that this machine does not have; it is assumed to
    support bfloat16, as all GPUs since 2020 do.
    """
    if memory and device.startswith("cuda") and not is_here(device):
        return Resources(device, memory, bfloat16=True, time_budget=time_budget, is_here=False, speed=speed)
    chosen = choose_device(device)
    usable = memory or free_memory(chosen, target)
    return Resources(chosen, usable, computes_bfloat16(chosen), time_budget, speed=speed)
