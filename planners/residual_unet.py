"""Planners of residual-encoder U-Nets: the U-Net's rules with nnU-Net's blocks per stage, and its three sizes."""

from __future__ import annotations

from functools import partial

from autoseg.plan import Component, Plan
from autoseg.planners.base import PlanRequest, planners
from autoseg.planners.configurations import plan_with
from autoseg.planners.topology import Topology
from autoseg.planners.unet import features

BLOCKS = (1, 3, 4, 6)
"""Residual blocks of the first stages; every later stage has as many as the last (nnU-Net)."""


SIZES = ("residual_unet", "residual_unet_m", "residual_unet_l", "residual_unet_xl")
"""One network for any memory; the sizes are names for nnU-Net's targets (see ``MEMORY_TARGETS``)."""


def plan_residual_unet(request: PlanRequest, planner: str) -> Plan:
    """Plan residual-encoder U-Nets for the memory in ``request``."""
    return plan_with(request, planner, residual_unet_spec)


for _size in SIZES:
    planners.register(_size)(partial(plan_residual_unet, planner=_size))


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
