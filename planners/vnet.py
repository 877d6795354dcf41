"""The planner of V-Net."""

from __future__ import annotations

from autoseg.plan import Component, Plan
from autoseg.planners.base import PlanRequest, planners
from autoseg.planners.configurations import plan_with
from autoseg.planners.topology import Topology

KERNEL = 5
"""Where nnU-Net's rules say 3 (Milletari et al. 2016)."""
CONVOLUTIONS = (1, 2, 3)
"""Of the first stages; every later stage has as many as the last."""
MOST_FEATURES = 256


@planners.register("vnet")
def plan_vnet(request: PlanRequest) -> Plan:
    """Plan V-Nets."""
    return plan_with(request, "vnet", vnet_spec)


def vnet_spec(dimension: int, plan: Topology, first_features: int) -> Component:
    """Describe V-Net: 16 features where nnU-Net begins with 32.

    Instance normalization is added to the paper's network: learning rates here are those of normalized networks.
    """
    return {
        "name": "vnet",
        "features": [min(first_features // 2 * 2**stage, MOST_FEATURES) for stage in range(plan.stages)],
        "kernels": [[1 if k == 1 else KERNEL for k in kernel] for kernel in plan.kernels],
        "strides": [list(stride) for stride in plan.strides],
        "convolutions": [CONVOLUTIONS[min(stage, len(CONVOLUTIONS) - 1)] for stage in range(plan.stages)],
        "normalization": "instance",
    }
