"""What every planner is given and what it returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from autoseg.dataset import Dataset
from autoseg.fingerprint import Fingerprint
from autoseg.plan import Plan
from autoseg.planners.resources import Resources
from autoseg.registry import Registry


@dataclass(frozen=True)
class PlanRequest:
    """What a plan is made from."""

    dataset: Dataset
    fingerprint: Fingerprint
    resources: Resources
    configurations: tuple[str, ...] | None = None
    """Names to plan; None: all that suit the data."""


Planner = Callable[[PlanRequest], Plan]

planners: Registry = Registry("planners", modules=("autoseg.planners.unet", "autoseg.planners.residual_unet"))


def make_plan(request: PlanRequest, planner: str = "unet") -> Plan:
    """Plan with the planner called ``planner``."""
    result: Plan = planners.get(planner)(request)
    return result
