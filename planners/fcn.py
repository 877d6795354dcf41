"""Planners of fully convolutional networks: EMMA's three, and one on a ResNet-50."""

from __future__ import annotations

from autoseg.plan import Component, Plan
from autoseg.planners.base import PlanRequest, planners
from autoseg.planners.configurations import plan_with
from autoseg.planners.topology import Topology
from autoseg.planners.unet import features

WIDER = 2
"""ResNet-50 begins with 64 features where nnU-Net begins with 32."""


@planners.register("fcn")
def plan_fcn(request: PlanRequest) -> Plan:
    """Plan plain FCNs."""
    return plan_with(request, "fcn", fcn_spec)


@planners.register("fcn_residual")
def plan_fcn_residual(request: PlanRequest) -> Plan:
    """Plan FCNs of residual blocks."""
    return plan_with(request, "fcn_residual", fcn_residual_spec)


@planners.register("fcn_shallow")
def plan_fcn_shallow(request: PlanRequest) -> Plan:
    """Plan FCNs of residual blocks that go down once less."""
    return plan_with(request, "fcn_shallow", fcn_shallow_spec)


@planners.register("fcn_resnet50")
def plan_fcn_resnet50(request: PlanRequest) -> Plan:
    """Plan FCNs on a ResNet-50."""
    return plan_with(request, "fcn_resnet50", fcn_resnet50_spec)


def fcn_spec(dimension: int, plan: Topology, first_features: int) -> Component:
    """Describe EMMA's FCN-1, with the stages and features of nnU-Net's encoder."""
    return {
        "name": "fcn",
        "features": features(dimension, plan.stages, first_features),
        "kernels": [list(kernel) for kernel in plan.kernels],
        "strides": [list(stride) for stride in plan.strides],
        "layers": 2,
        "layer": "plain",
    }


def fcn_residual_spec(dimension: int, plan: Topology, first_features: int) -> Component:
    """Describe EMMA's FCN-2: each layer is a residual block."""
    return {**fcn_spec(dimension, plan, first_features), "layer": "residual"}


def fcn_shallow_spec(dimension: int, plan: Topology, first_features: int) -> Component:
    """Describe EMMA's FCN-3: FCN-2 without its coarsest stage, where there are several."""
    stages = max(1, plan.stages - 1)
    return fcn_residual_spec(dimension, Topology(plan.strides[:stages], plan.kernels[:stages]), first_features)


def fcn_resnet50_spec(dimension: int, plan: Topology, first_features: int) -> Component:
    """Describe the baseline of Joakimsen 2021; it is the same whatever the patch."""
    return {"name": "fcn_resnet50", "features": WIDER * first_features}
