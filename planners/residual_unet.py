"""The planner of residual-encoder U-Nets: the U-Net planner's rules with nnU-Net's blocks per stage."""

from __future__ import annotations

from autoseg.plan import Component, Plan
from autoseg.planners.base import PlanRequest, planners
from autoseg.planners.topology import Topology
from autoseg.planners.unet import features, plan_with

BLOCKS = (1, 3, 4, 6)
"""Residual blocks of the first stages; every later stage has as many as the last (nnU-Net)."""


@planners.register("residual_unet")
def plan_residual_unet(request: PlanRequest) -> Plan:
    """Plan residual-encoder U-Nets."""
    return plan_with(request, "residual_unet", residual_unet_spec)


def residual_unet_spec(dimension: int, plan: Topology, first_features: int) -> Component:
    """Describe nnU-Net's residual-encoder U-Net."""
    return {
        "name": "residual_unet",
        "features": features(dimension, plan.stages, first_features),
        "kernels": [list(kernel) for kernel in plan.kernels],
        "strides": [list(stride) for stride in plan.strides],
        "blocks": [BLOCKS[min(stage, len(BLOCKS) - 1)] for stage in range(plan.stages)],
        "decoder_convolutions": 1,
        "deep_supervision": True,
    }
