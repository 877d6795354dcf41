"""Speed of a machine by kind of work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from autoseg.learning.costs.work import BYTES, PRODUCT
from autoseg.learning.step_cost import BatchCost, Work
from autoseg.system.memory import format_bytes


@dataclass(frozen=True)
class MachineSpeed:
    """Speed of a machine for each kind of work per second; see :mod:`autoseg.learning.costs.work`."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "allow_inf_nan": False}

    machine: str
    """Description of the measured machine: processor or GPU, instructions, cores, precision and versions."""
    rates: dict[str, float]
    """Floating-point operations, bytes or operations per second, by kind of work."""
    augmented_voxels: float
    """Voxels per second that are read and augmented."""
    is_busy: bool = False
    """Whether other programs used the processor during the measurement, which makes it less reliable."""

    def seconds(self, cost: BatchCost, batch: int) -> float:
        """Estimate the seconds of a training step with ``batch`` samples, including the optimizer."""
        return self._time(cost.fixed_work) + batch * self._time(cost.sample_work)

    def _time(self, work: Work) -> float:
        return sum(amount / self.rates[kind] for kind, amount in work.items())

    @property
    def described(self) -> str:
        """Summary of the speed in one line."""
        flops = self.rates["convolution_3d_16"] / 1e9
        busy = ", measured while other programs used the processor" if self.is_busy else ""
        return (
            f"{self.machine}: {flops:.0f} GFLOP/s in 3D convolutions of 16 features, "
            f"{self.rates[PRODUCT] / 1e9:.0f} in matrix products, {format_bytes(self.rates[BYTES])}/s in the rest{busy}"
        )
