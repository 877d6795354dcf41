"""The U-Net planner: nnU-Net's plain U-Net in every configuration that suits the data."""

from __future__ import annotations

from autoseg.plan import Component, Plan
from autoseg.planners.base import PlanRequest, planners
from autoseg.planners.configurations import plan_with
from autoseg.planners.fitting import FIRST_FEATURES
from autoseg.planners.topology import Topology

MOST_FEATURES = {2: 512, 3: 320}
"""Features beyond which stages do not grow (nnU-Net)."""


@planners.register("unet")
def plan_unet(request: PlanRequest) -> Plan:
    """Plan plain U-Nets."""
    return plan_with(request, "unet", unet_spec)


def unet_spec(dimension: int, plan: Topology, first_features: int) -> Component:
    """Describe nnU-Net's plain U-Net: features double at each stage, which has two convolutions."""
    return {
        "name": "unet",
        "features": features(dimension, plan.stages, first_features),
        "kernels": [list(kernel) for kernel in plan.kernels],
        "strides": [list(stride) for stride in plan.strides],
        "convolutions": 2,
        "decoder_convolutions": 2,
        "deep_supervision": True,
    }


NARROW = 8
"""Times the features of the first stage that stages have at most where these are fewer than nnU-Net's: the coarsest
hold most weights, and a short time is not spent on orthogonalizing them."""


def features(dimension: int, stages: int, first: int) -> list[int]:
    """Return the features of each stage: doubling from ``first`` up to 320 in 3D and 512 in 2D."""
    most = MOST_FEATURES[dimension] if first >= FIRST_FEATURES[0] else NARROW * first
    return [min(first * 2**stage, most) for stage in range(stages)]
