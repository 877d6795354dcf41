"""What every planner is given and what it returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from autoseg.dataset import Dataset
from autoseg.fingerprint import Fingerprint
from autoseg.plan import Plan
from autoseg.planners.resources import GIGABYTE, Resources
from autoseg.registry import Registry


@dataclass(frozen=True)
class PlanRequest:
    """What a plan is made from."""

    dataset: Dataset
    fingerprint: Fingerprint
    resources: Resources
    configurations: tuple[str, ...] | None = None
    """Names to plan; None: all that suit the data."""
    members: tuple[str, ...] | None = None
    """Of an ensemble, which to plan; None: all."""


MEMORY_TARGETS = {
    "residual_unet_m": 8 * GIGABYTE,
    "residual_unet_l": 24 * GIGABYTE,
    "residual_unet_xl": 40 * GIGABYTE,
}
"""Memory that planners of a stated size plan for where none is given, as far as the device has it (nnU-Net's)."""

Planner = Callable[[PlanRequest], Plan]

planners: Registry = Registry(
    "planners",
    modules=(
        "autoseg.planners.unet",
        "autoseg.planners.residual_unet",
        "autoseg.planners.unet_scinets",
        "autoseg.planners.convmixer",
        "autoseg.planners.emma",
        "autoseg.planners.emma_unets",
        "autoseg.planners.fcn",
        "autoseg.planners.vnet",
        "autoseg.planners.mednext",
        "autoseg.planners.hyperdense",
        "autoseg.planners.deepmedic",
        "autoseg.planners.probabilistic_unet",
    ),
)


def make_plan(request: PlanRequest, planner: str = "unet") -> Plan:
    """Plan with the planner called ``planner``."""
    result: Plan = planners.get(planner)(request)
    return result
