"""Planners of MedNeXt: the paper's four sizes, with kernels of 3 and of 5."""

from __future__ import annotations

from functools import partial

from autoseg.plan import Component, Plan
from autoseg.planners.base import PlanRequest, planners
from autoseg.planners.configurations import plan_with
from autoseg.planners.fitting import NetworkSpec
from autoseg.planners.topology import Topology

SIZES = {
    "mednext": ((2, 2, 2, 2, 2), (2, 2, 2, 2, 2)),
    "mednext_b": ((2, 2, 2, 2, 2), (2, 3, 4, 4, 4)),
    "mednext_m": ((3, 4, 4, 4, 4), (2, 3, 4, 4, 4)),
    "mednext_l": ((3, 4, 8, 8, 8), (3, 4, 8, 8, 8)),
}
"""Blocks and expansions of the five stages of S, B, M and L (Roy et al. 2023); a sixth is as the fifth."""
KERNELS = {"": 3, "_k5": 5}
"""What is added to a planner's name for a depthwise kernel of so many voxels where nnU-Net's rules say 3."""
MOST_FEATURES = 512
"""The paper's, in its fifth stage."""


def mednext_spec(dimension: int, plan: Topology, first_features: int, *, size: str, kernel: int) -> Component:
    """Describe MedNeXt of one size."""
    blocks, expansions = SIZES[size]
    stages = [min(stage, len(blocks) - 1) for stage in range(plan.stages)]
    return {
        "name": "mednext",
        "features": [min(first_features * 2**stage, MOST_FEATURES) for stage in range(plan.stages)],
        "kernels": [[1 if k == 1 else kernel for k in kernels] for kernels in plan.kernels],
        "strides": [list(stride) for stride in plan.strides],
        "blocks": [blocks[stage] for stage in stages],
        "expansions": [expansions[stage] for stage in stages],
        "deep_supervision": True,
    }


def plan_mednext(request: PlanRequest, *, planner: str, network: NetworkSpec) -> Plan:
    """Plan MedNeXts of one size."""
    return plan_with(request, planner, network)


for _size in SIZES:
    for _ending, _kernel in KERNELS.items():
        _name, _spec = f"{_size}{_ending}", partial(mednext_spec, size=_size, kernel=_kernel)
        planners.register(_name)(partial(plan_mednext, planner=_name, network=_spec))
