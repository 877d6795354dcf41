"""The planner of HyperDenseNet."""

from __future__ import annotations

from dataclasses import replace

from autoseg.networks.planning import Topology
from autoseg.plan.schema import Configuration, Plan
from autoseg.planners.base import PlanRequest, planners
from autoseg.planners.configurations import plan_with
from autoseg.planners.family import Family
from autoseg.planners.patches import Candidate, candidates
from autoseg.registry import Component

FEATURES = (25, 25, 25, 50, 50, 50, 75, 75, 75)
CLASSIFIER = (400, 200, 150)
"""The paper's features, used for 32 ``first_features``."""
LAYERS_OF_A_KERNEL = 3
"""Number of layers with the kernel of one U-Net stage. The network does not pool: its layers use the kernels of the
stages in order, starting with the finest."""
LARGEST_EDGE = {2: None, 3: 27}
"""Edge of the paper's segments in voxels, by dimension. Without pooling, the receptive field is 19 voxels, so that
larger segments only make steps slower. The paper has no 2D network."""
LEARNING_RATES: Component = {"learning_rate": 8e-3, "vector_learning_rate": 4e-3}
"""Learning rates of Muon, four times those of other networks: in a short time, the network makes few steps, and larger
rates give a higher Dice (benchmarks/README.md)."""


@planners.register("hyperdense")
def plan_hyperdense(request: PlanRequest) -> Plan:
    """Plan HyperDenseNets."""
    return plan_with(request, "hyperdense", hyperdense_spec, family=Family(patches=segments, revise=learning_fast))


def segments(shape: tuple[int, ...], spacing: tuple[float, ...]) -> list[Candidate]:
    """List patches from large to small; in 3D, the paper's segments are the largest."""
    return candidates(shape, spacing, largest_edge=LARGEST_EDGE[len(shape)])


def learning_fast(draft: Configuration) -> Configuration:
    """Set :data:`LEARNING_RATES` if the training has a time budget."""
    training = draft.training
    if training.time_budget is None:
        return draft
    return replace(draft, training=replace(training, optimizer={**training.optimizer, **LEARNING_RATES}))


def hyperdense_spec(dimension: int, plan: Topology, first_features: int) -> Component:
    """Return the spec of HyperDenseNet; each channel has its own path."""
    stages = [min(layer // LAYERS_OF_A_KERNEL, plan.stages - 1) for layer in range(len(FEATURES))]
    return {
        "name": "hyperdense",
        "features": [width * first_features // 32 for width in FEATURES],
        "kernels": [list(plan.kernels[stage]) for stage in stages],
        "classifier": [width * first_features // 32 for width in CLASSIFIER],
    }
