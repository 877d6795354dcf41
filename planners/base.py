"""Interface and registry of planners."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from autoseg.data.dataset import Dataset
from autoseg.fingerprint.record import Fingerprint
from autoseg.plan.schema import Plan
from autoseg.planners.resources import GIGABYTE, Resources
from autoseg.registry import Component, Registry


@dataclass(frozen=True)
class PlanRequest:
    """Inputs of a planner."""

    dataset: Dataset
    fingerprint: Fingerprint
    resources: Resources
    configurations: tuple[str, ...] | None = None
    """Names of the configurations to plan; None: all that suit the data."""
    members: tuple[str, ...] | None = None
    """Names of the ensemble members to plan; None: all."""
    trainer: Component | None = None
    """Trainer of all configurations; None: the planner decides, usually supervised training."""


MEMORY_TARGETS = {
    "residual_unet_m": 8 * GIGABYTE,
    "residual_unet_l": 24 * GIGABYTE,
    "residual_unet_xl": 40 * GIGABYTE,
}
"""Default memory in bytes of planners with a size in their name, limited by the device's free memory (nnU-Net)."""

Planner = Callable[[PlanRequest], Plan]

planners: Registry = Registry(
    "planners",
    modules=(
        "autoseg.planners.networks",
        "autoseg.planners.emma",
        "autoseg.planners.hyperdense",
        "autoseg.planners.deepmedic",
        "autoseg.planners.probabilistic_unet",
        "autoseg.planners.random_forest",
    ),
)


def make_plan(request: PlanRequest, planner: str = "unet") -> Plan:
    """Make a plan with the planner named ``planner``."""
    result: Plan = planners.get(planner)(request)
    return result
