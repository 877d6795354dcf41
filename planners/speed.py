"""Training speed of a machine: rates for each kind of work, measured once per machine and stored in a file."""

from __future__ import annotations

import json
import logging
import os
import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from autoseg.errors import AutosegError, PlanError
from autoseg.files.records import from_plain, read_record, to_plain
from autoseg.files.storage import write_json
from autoseg.learning.costs.work import BYTES, KINDS, OPERATIONS, PRODUCT
from autoseg.planners.machine_speed import MachineSpeed
from autoseg.system.processors import processors

logger = logging.getLogger("autoseg.planning")

REFERENCE = "reference"
"""Name of a fixed speed (two cores with AVX2), for plans that do not depend on the machine."""


def speed_of_machine(device: str, precision: str, *, name: str | None = None) -> MachineSpeed:
    """Return the stored speed of ``device``; if there is none, measure it, which takes some seconds, and store it.

    ``name`` selects another speed: :data:`REFERENCE`, or the path of a file in the format of :func:`kept_in`, for
    another machine.
    """
    if name == REFERENCE:
        return reference_speed()
    if name is not None:
        return _stated(Path(name), precision)
    key = machine_key(device, precision)
    if key not in _known:
        _known[key] = kept_speeds().get(key) or renewed_speed(device, precision)
    return _known[key]


_known: dict[str, MachineSpeed] = {}
"""Speeds that this process has read or measured; the cache folder may be read-only."""


def renewed_speed(device: str, precision: str) -> MachineSpeed:
    """Measure the speed of ``device`` and replace its stored speed."""
    from autoseg.planners.speed_measuring import measured_speed

    key = machine_key(device, precision)
    logger.info("measuring the speed of this machine, once: %s", key)
    speed = measured_speed(device, precision, machine=key)
    if speed.is_busy:
        logger.warning(
            "other programs use this machine: its speed was measured in processor time; "
            "measure it again with 'autoseg doctor --renew-speed'"
        )
    _known[key] = speed
    try:
        write_json(kept_in(), {**{name: to_plain(kept) for name, kept in kept_speeds().items()}, key: to_plain(speed)})
    except AutosegError as error:
        logger.warning("%s; the speed of this machine will be measured again", error)
    return speed


def kept_in() -> Path:
    """Return the file of stored speeds, in the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "autoseg" / "speed.json"


def kept_speeds() -> dict[str, MachineSpeed]:
    """Read the stored speeds by machine; if the file cannot be read, the result is empty."""
    path = kept_in()
    try:
        text = json.loads(path.read_text())
        return {key: _checked(value, f"{path}: {key}") for key, value in text.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, AutosegError) as error:
        logger.warning("%s: cannot be read (%s); the speed of this machine is measured again", path, error)
        return {}


@cache
def machine_key(device: str, precision: str) -> str:
    """Return a text with all that a speed depends on: hardware, instructions, number of processors, and versions."""
    import torch

    if device == "cpu":
        capability = torch.backends.cpu.get_cpu_capability()
        onednn = os.environ.get("ONEDNN_MAX_CPU_ISA", os.environ.get("DNNL_MAX_CPU_ISA", ""))
        name = f"{_processor_name()} with {capability}{f' and oneDNN limited to {onednn}' if onednn else ''}"
        where = f"{name}, {torch.get_num_threads()} of {processors()} processors"
    else:
        where = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    return f"{where}, {precision}, PyTorch {torch.__version__}, autoseg {version('autoseg')}"


def _processor_name() -> str:
    """Return the processor's model with its family number; some processors have no distinct model name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    found = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines[:30])}
    model = found.get("model name", platform.machine())
    return f"{model} (family {found['cpu family']}, model {found['model']})" if "cpu family" in found else model


def _stated(path: Path, precision: str) -> MachineSpeed:
    """Read the only speed for a precision from a file."""
    speeds: Mapping[str, MachineSpeed] = read_record(dict[str, MachineSpeed], path, error=PlanError)
    fitting = [speed for key, speed in speeds.items() if f", {precision}, " in key]
    if len(fitting) != 1:
        raise PlanError(
            f"{path}: found {len(fitting)} speeds for {precision}, expected one; remove the speeds of other machines"
        )
    return _checked(to_plain(fitting[0]), str(path))


def _checked(plain: Any, source: str) -> MachineSpeed:
    speed = from_plain(MachineSpeed, plain, source=source, error=PlanError)
    missing = [kind for kind in KINDS if speed.rates.get(kind, 0.0) <= 0.0]
    if missing:
        raise PlanError(f"{source}: field 'rates.{missing[0]}' is missing or not above 0; measure the speed again")
    return speed


def reference_speed() -> MachineSpeed:
    """Return the speed of two cores with AVX2, rounded."""
    convolutions = {1: 15e9, 8: 40e9, 16: 70e9, 32: 100e9, 64: 120e9}
    rates = {f"convolution_{d}d_{channels}": rate for d in (2, 3) for channels, rate in convolutions.items()}
    rates |= {PRODUCT: 100e9, "depthwise": 5e9, BYTES: 8e9, OPERATIONS: 1e5}
    return MachineSpeed("two cores with AVX2, a fixed reference speed", rates, augmented_voxels=2e7)
