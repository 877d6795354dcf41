"""Select and check the devices for training and prediction."""

from __future__ import annotations

import os
from collections.abc import Sequence

from autoseg.errors import PlanError

AUTO = "auto"


def parse_devices(text: str | None) -> list[str] | None:
    """Read comma-separated device names; a number alone is a GPU index."""
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise PlanError(f"devices '{text}': expected comma-separated names, such as 0,1 or cuda:0,cpu")
    return [f"cuda:{name}" if name.isdecimal() else name for name in names]


def check_devices(device: str, devices: Sequence[str] | None) -> list[str]:
    """Return the names of the prediction devices; each must exist on this machine.

    Raises :class:`PlanError` if the list is empty, or if both ``device`` and ``devices`` are given.
    """
    if devices is None:
        return [choose_device(device)]
    if device != AUTO:
        raise PlanError(
            f"device '{device}' and devices {', '.join(devices)}: found both, expected one of the two; remove one"
        )
    if not devices:
        raise PlanError("devices: found none, expected at least one")
    return [choose_device(name) for name in devices]


def choose_device(name: str = "auto") -> str:
    """Resolve ``auto`` to the best available device, or check that the named device exists."""
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    if not is_here(name):
        raise PlanError(f"device '{name}': not on this machine, which has {', '.join(devices())}")
    return name


def is_here(name: str) -> bool:
    """Return whether this machine has a device; raise :class:`PlanError` for an invalid device name."""
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
    """Return the names of all devices of this machine."""
    import torch

    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return ["cpu", *gpus, *(["mps"] if torch.backends.mps.is_available() else [])]


_WITHOUT_BFLOAT16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI")
"""Values of ONEDNN_MAX_CPU_ISA that limit oneDNN to instruction sets without bfloat16 arithmetic."""


def computes_bfloat16(device: str) -> bool:
    """Return whether a device has usable bfloat16 instructions; without them bfloat16 is slower than float32."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device == "cpu":
        found = torch.cpu.get_capabilities()
        return bool(found.get("avx512_bf16") or found.get("bf16")) and not _is_kept_to_older_instructions()
    return False


def _is_kept_to_older_instructions() -> bool:
    """Return whether environment variables limit oneDNN or PyTorch to instruction sets without bfloat16."""
    onednn = os.environ.get("ONEDNN_MAX_CPU_ISA", os.environ.get("DNNL_MAX_CPU_ISA", ""))
    return onednn.upper() in _WITHOUT_BFLOAT16 or os.environ.get("ATEN_CPU_CAPABILITY", "") in ("default", "avx2")
