"""The planner of ConvMixerSeg."""

from __future__ import annotations

from autoseg.plan import Component, Plan
from autoseg.planners.base import PlanRequest, planners
from autoseg.planners.configurations import plan_with
from autoseg.planners.topology import Topology

WIDER = 8
"""The thesis has 256 features where nnU-Net begins with 32."""
DECODED = 100
"""Features of the decoder, at full resolution, where there are 256 within."""
PATCH = {2: 7, 3: 4}
"""Voxels of an embedded patch's edge: the thesis' 7×7 pixels; a cube of 4 has about as many."""
KERNEL = {2: 9, 3: 5}
"""Patches that a depthwise kernel spans: ConvMixer's 9×9; a cube of 5 has half as many weights again, one of 9 nine
times as many."""


@planners.register("convmixer")
def plan_convmixer(request: PlanRequest) -> Plan:
    """Plan ConvMixers."""
    return plan_with(request, "convmixer", convmixer_spec)


def convmixer_spec(dimension: int, plan: Topology, first_features: int) -> Component:
    """Describe the network of Joakimsen 2021; embedded patches are about as long in mm along each axis.

    The smoothing of its logits, by 7 pixels of slices of 512, is for a person to add (``network.smoothing``): it
    would take small structures away.
    """
    flat = [sum(kernel[axis] == 1 for kernel in plan.kernels) for axis in range(dimension)]
    return {
        "name": "convmixer",
        "features": WIDER * first_features,
        "depth": 20,
        "patch": [max(1, PATCH[dimension] // 2**stages) for stages in flat],
        "kernel": KERNEL[dimension],
        "decoded_features": DECODED * first_features // 32,
    }
