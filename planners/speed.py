"""How fast a machine trains: rates for each kind of work, measured once for a machine and kept in a file."""

from __future__ import annotations

import json
import logging
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from autoseg.errors import AutosegError, PlanError
from autoseg.memory import format_bytes
from autoseg.planners.memory import BatchCost
from autoseg.planners.work import BYTES, KINDS, OPERATIONS, PRODUCT, Work
from autoseg.processors import processors
from autoseg.records import from_plain, read_record, to_plain
from autoseg.storage import write_json

logger = logging.getLogger("autoseg.planning")

REFERENCE = "reference"
"""Name of a speed that is nobody's: what two cores with AVX2 have, for plans that no machine shall change."""


@dataclass(frozen=True)
class MachineSpeed:
    """How much a machine does in a second of each kind of work; see :mod:`autoseg.planners.work`."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "allow_inf_nan": False}

    machine: str
    """What was measured: processor or GPU, its instructions, cores, precision and versions."""
    rates: dict[str, float]
    """By kind of work; floating-point operations, bytes or operations a second."""
    augmented_voxels: float
    """Voxels a second that are read and augmented."""
    is_busy: bool = False
    """Whether other programs computed while it was measured, so that it is less certain."""

    def seconds(self, cost: BatchCost, batch: int) -> float:
        """Estimate the seconds of a training step with ``batch`` samples, its optimizer included."""
        return self._time(cost.fixed_work) + batch * self._time(cost.sample_work)

    def _time(self, work: Work) -> float:
        return sum(amount / self.rates[kind] for kind, amount in work.items())

    @property
    def described(self) -> str:
        """Say in a line how fast the machine is."""
        flops = self.rates["convolution_3d_16"] / 1e9
        busy = ", measured while other programs computed" if self.is_busy else ""
        return (
            f"{self.machine}: {flops:.0f} GFLOP/s in 3D convolutions of 16 features, "
            f"{self.rates[PRODUCT] / 1e9:.0f} in matrix products, {format_bytes(self.rates[BYTES])}/s in the rest{busy}"
        )


def speed_of_machine(device: str, precision: str, *, name: str | None = None) -> MachineSpeed:
    """Return the speed of ``device``: as kept, or measured now, which takes some seconds, and kept.

    ``name`` states another one: :data:`REFERENCE`, or the path of a file such as that of :func:`kept_in`, for a machine
    that is elsewhere.
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
"""What this process has read or measured: a plan asks often, and not every folder of caches can be written."""


def renewed_speed(device: str, precision: str) -> MachineSpeed:
    """Measure the speed of ``device`` and keep it in place of what was measured before."""
    from autoseg.planners.speed_measuring import measured_speed

    key = machine_key(device, precision)
    logger.info("measuring the speed of this machine, once: %s", key)
    speed = measured_speed(device, precision, machine=key)
    if speed.is_busy:
        logger.warning(
            "other programs compute on this machine: its speed was taken from processor time; "
            "'autoseg doctor --renew-speed' measures it again"
        )
    _known[key] = speed
    try:
        write_json(kept_in(), {**{name: to_plain(kept) for name, kept in kept_speeds().items()}, key: to_plain(speed)})
    except AutosegError as error:
        logger.warning("%s; the speed of this machine will be measured again", error)
    return speed


def kept_in() -> Path:
    """Return the file in which speeds are kept, in the user's folder of caches."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "autoseg" / "speed.json"


def kept_speeds() -> dict[str, MachineSpeed]:
    """Read what was measured, by machine; what cannot be read is left out, and so measured again."""
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
    """Name what a speed depends on: the hardware, its instructions, the processors to be used, and versions."""
    import torch

    if device == "cpu":
        capability = torch.backends.cpu.get_cpu_capability()
        onednn = os.environ.get("ONEDNN_MAX_CPU_ISA", os.environ.get("DNNL_MAX_CPU_ISA", ""))
        name = f"{_processor_name()} with {capability}{f' and oneDNN kept to {onednn}' if onednn else ''}"
        where = f"{name}, {torch.get_num_threads()} of {processors()} processors"
    else:
        where = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    return f"{where}, {precision}, PyTorch {torch.__version__}, autoseg {version('autoseg')}"


def _processor_name() -> str:
    """Return the processor's model with its family, which tells kinds apart that hide their name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    found = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines[:30])}
    model = found.get("model name", platform.machine())
    return f"{model} (family {found['cpu family']}, model {found['model']})" if "cpu family" in found else model


def _stated(path: Path, precision: str) -> MachineSpeed:
    """Read the speed that a file states: its only one for a precision."""
    speeds: Mapping[str, MachineSpeed] = read_record(dict[str, MachineSpeed], path, error=PlanError)
    fitting = [speed for key, speed in speeds.items() if f", {precision}, " in key]
    if len(fitting) != 1:
        raise PlanError(
            f"{path}: found {len(fitting)} speeds for {precision}, expected one; leave the machine's own in it"
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
    return MachineSpeed("two cores with AVX2, as plans for no machine assume them", rates, augmented_voxels=2e7)
