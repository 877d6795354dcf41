"""The planner of HyperDenseNet."""

from __future__ import annotations

from autoseg.plan import Component, Plan
from autoseg.planners.base import PlanRequest, planners
from autoseg.planners.configurations import plan_with
from autoseg.planners.topology import Topology

FEATURES = (25, 25, 25, 50, 50, 50, 75, 75, 75)
CLASSIFIER = (400, 200, 150)
"""The paper's features, where nnU-Net begins with 32."""
LAYERS_OF_A_KERNEL = 3
"""The network does not pool: a third of its layers takes the kernels of each of the U-Net's stages, from the finest."""


@planners.register("hyperdense")
def plan_hyperdense(request: PlanRequest) -> Plan:
    """Plan HyperDenseNets."""
    return plan_with(request, "hyperdense", hyperdense_spec)


def hyperdense_spec(dimension: int, plan: Topology, first_features: int) -> Component:
    """Describe HyperDenseNet; each channel has its own path."""
    stages = [min(layer // LAYERS_OF_A_KERNEL, plan.stages - 1) for layer in range(len(FEATURES))]
    return {
        "name": "hyperdense",
        "features": [width * first_features // 32 for width in FEATURES],
        "kernels": [list(plan.kernels[stage]) for stage in stages],
        "classifier": [width * first_features // 32 for width in CLASSIFIER],
    }
