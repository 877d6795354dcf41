"""What may be spent: device, memory, time and workers."""

from __future__ import annotations

import os
from dataclasses import dataclass

from autoseg.errors import PlanError
from autoseg.memory import available_memory

GIGABYTE = 1024**3

DEFAULT_CPU_MEMORY = 8 * GIGABYTE
"""A CPU has room for larger patches than it has time for; 8 GB is what nnU-Net plans for by default."""

GPU_HEADROOM = 0.9
"""Share of a GPU's free memory that a plan may use: its context and the allocator's slack take the rest."""


@dataclass(frozen=True)
class Resources:
    """What a plan may use."""

    device: str
    """``cpu``, ``cuda``, ``cuda:1``, ``mps``."""
    memory: int
    """Bytes for a training step."""
    bfloat16: bool
    """Whether the device computes bfloat16 natively."""
    time_budget: float | None = None
    """Seconds for one fold; None where the user set none."""
    is_here: bool = True
    """Whether this machine has the device, so that it can be timed."""
    speed: str | None = None
    """Speed that is assumed instead of that of this machine; see :func:`autoseg.planners.speed.speed_of_machine`."""


def choose_device(name: str = "auto") -> str:
    """Resolve ``auto`` to the best device that there is, and check that a named one exists."""
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    if not _is_here(name):
        raise PlanError(f"device '{name}': not on this machine, which has {', '.join(devices())}")
    return name


def _is_here(name: str) -> bool:
    """Tell whether this machine has a device; raise :class:`PlanError` for a name that is none."""
    import torch

    try:
        device = torch.device(name)
    except RuntimeError:
        raise PlanError(f"device '{name}': expected auto, cpu, cuda, cuda:0 or mps") from None
    found = {
        "cpu": device.index is None,
        "cuda": (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    return found.get(device.type, False)


def devices() -> list[str]:
    """Name every device of this machine."""
    import torch

    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return ["cpu", *gpus, *(["mps"] if torch.backends.mps.is_available() else [])]


_WITHOUT_BFLOAT16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI")
"""Instruction sets to which oneDNN can be kept, by ONEDNN_MAX_CPU_ISA, that have no arithmetic in bfloat16."""


def computes_bfloat16(device: str) -> bool:
    """Tell whether a device has instructions for bfloat16, and may use them; without them it would be slower."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device == "cpu":
        found = torch.cpu.get_capabilities()
        return bool(found.get("avx512_bf16") or found.get("bf16")) and not _is_kept_to_older_instructions()
    return False


def _is_kept_to_older_instructions() -> bool:
    """Tell whether the environment keeps oneDNN or PyTorch to instruction sets without bfloat16."""
    onednn = os.environ.get("ONEDNN_MAX_CPU_ISA", os.environ.get("DNNL_MAX_CPU_ISA", ""))
    return onednn.upper() in _WITHOUT_BFLOAT16 or os.environ.get("ATEN_CPU_CAPABILITY", "") in ("default", "avx2")


def free_memory(device: str, target: int | None = None) -> int:
    """Bytes that a training step on ``device`` may use, no more than ``target``."""
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
    """Look at this machine; ``memory`` and ``time_budget`` override what it has.

    ``target`` is the memory to plan for where none is given, as far as the device has it free. ``speed`` states another
    speed than this machine's. A GPU that is elsewhere can be planned for when its ``memory`` is given: it is taken to
    compute bfloat16, as all since 2020 do.
    """
    if memory and device.startswith("cuda") and not _is_here(device):
        return Resources(device, memory, bfloat16=True, time_budget=time_budget, is_here=False, speed=speed)
    chosen = choose_device(device)
    usable = memory or free_memory(chosen, target)
    return Resources(chosen, usable, computes_bfloat16(chosen), time_budget, speed=speed)
