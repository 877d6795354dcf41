"""Planners of EMMA's two U-Nets."""

from __future__ import annotations

from autoseg.plan import Component, Plan
from autoseg.planners.base import PlanRequest, planners
from autoseg.planners.configurations import plan_with
from autoseg.planners.topology import Topology
from autoseg.planners.unet import features


@planners.register("unet_sum")
def plan_unet_sum(request: PlanRequest) -> Plan:
    """Plan U-Nets whose skips are added."""
    return plan_with(request, "unet_sum", unet_sum_spec)


@planners.register("unet_strided")
def plan_unet_strided(request: PlanRequest) -> Plan:
    """Plan U-Nets of strided convolutions and concatenated skips."""
    return plan_with(request, "unet_strided", unet_strided_spec)


def unet_sum_spec(dimension: int, plan: Topology, first_features: int) -> Component:
    """Describe EMMA's U-Net-1 with the features of nnU-Net."""
    return _spec("unet_sum", dimension, plan, first_features)


def unet_strided_spec(dimension: int, plan: Topology, first_features: int) -> Component:
    """Describe EMMA's U-Net-2 with the features of nnU-Net."""
    return _spec("unet_strided", dimension, plan, first_features)


def _spec(name: str, dimension: int, plan: Topology, first_features: int) -> Component:
    return {
        "name": name,
        "features": features(dimension, plan.stages, first_features),
        "kernels": [list(kernel) for kernel in plan.kernels],
        "strides": [list(stride) for stride in plan.strides],
        "convolutions": 2,
    }
