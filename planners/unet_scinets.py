"""The planner of the SciNets U-Net."""

from __future__ import annotations

from autoseg.plan import Component, Plan
from autoseg.planners.base import PlanRequest, planners
from autoseg.planners.configurations import plan_with
from autoseg.planners.topology import Topology

WIDER = 2
"""The thesis begins with 64 features where nnU-Net begins with 32."""
MOST_FEATURES = {2: 1024, 3: 320}
"""Features beyond which stages do not grow: the thesis' in slices, nnU-Net's in volumes."""


@planners.register("unet_scinets")
def plan_unet_scinets(request: PlanRequest) -> Plan:
    """Plan SciNets' U-Nets."""
    return plan_with(request, "unet_scinets", unet_scinets_spec)


def unet_scinets_spec(dimension: int, plan: Topology, first_features: int) -> Component:
    """Describe the U-Net of Moe 2019 with plain layers."""
    return {
        "name": "unet_scinets",
        "features": [min(WIDER * first_features * 2**i, MOST_FEATURES[dimension]) for i in range(plan.stages)],
        "kernels": [list(kernel) for kernel in plan.kernels],
        "strides": [list(stride) for stride in plan.strides],
        "convolutions": 2,
        "layer": "plain",
    }
