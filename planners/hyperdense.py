"""The planner of HyperDenseNet."""

from __future__ import annotations

from dataclasses import replace

from autoseg.plan import Component, Configuration, Plan
from autoseg.planners.base import PlanRequest, planners
from autoseg.planners.configurations import plan_with
from autoseg.planners.family import Family
from autoseg.planners.patches import Candidate, candidates
from autoseg.planners.topology import Topology

FEATURES = (25, 25, 25, 50, 50, 50, 75, 75, 75)
CLASSIFIER = (400, 200, 150)
"""The paper's features, where nnU-Net begins with 32."""
LAYERS_OF_A_KERNEL = 3
"""The network does not pool: a third of its layers takes the kernels of each of the U-Net's stages, from the finest."""
LARGEST_EDGE = {2: None, 3: 27}
"""Voxels along the edge of the paper's segments. Nothing beyond nineteen voxels reaches a layer, as none is pooled, so
that larger ones only make each step slow; of slices the paper has none."""
LEARNING_RATES: Component = {"learning_rate": 8e-3, "vector_learning_rate": 4e-3}
"""Four times those of other networks under Muon: the few steps that it makes in a short time learn more by them
(benchmarks/README.md)."""


@planners.register("hyperdense")
def plan_hyperdense(request: PlanRequest) -> Plan:
    """Plan HyperDenseNets."""
    return plan_with(request, "hyperdense", hyperdense_spec, family=Family(patches=segments, revise=learning_fast))


def segments(shape: tuple[int, ...], spacing: tuple[float, ...]) -> list[Candidate]:
    """List patches from large to small, in 3D from the paper's segments on."""
    return candidates(shape, spacing, largest_edge=LARGEST_EDGE[len(shape)])


def learning_fast(draft: Configuration) -> Configuration:
    """Give a draft whose time is bounded :data:`LEARNING_RATES`."""
    training = draft.training
    if training.time_budget is None:
        return draft
    return replace(draft, training=replace(training, optimizer={**training.optimizer, **LEARNING_RATES}))


def hyperdense_spec(dimension: int, plan: Topology, first_features: int) -> Component:
    """Describe HyperDenseNet; each channel has its own path."""
    stages = [min(layer // LAYERS_OF_A_KERNEL, plan.stages - 1) for layer in range(len(FEATURES))]
    return {
        "name": "hyperdense",
        "features": [width * first_features // 32 for width in FEATURES],
        "kernels": [list(plan.kernels[stage]) for stage in stages],
        "classifier": [width * first_features // 32 for width in CLASSIFIER],
    }
