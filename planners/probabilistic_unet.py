"""Planner of the probabilistic U-Net."""

from __future__ import annotations

from functools import partial

from autoseg.networks.planning import Topology
from autoseg.networks.unet import unet_spec
from autoseg.plan.schema import Plan
from autoseg.planners.base import PlanRequest, planners
from autoseg.planners.configurations import plan_with
from autoseg.registry import Component

LATENT = 6
"""Dimension of the latent variable (Kohl et al. 2018, appendix)."""
BETA = 0.01
"""Weight of the Kullback-Leibler divergence of posterior and prior, in loss per nat. The paper's 1 to 10 belong to a
sum over voxels. Here the loss is Dice plus mean cross-entropy, for which even 0.1 is much; the choice between two
plausible maps needs less than one nat."""


@planners.register("probabilistic_unet")
def plan_probabilistic_unet(request: PlanRequest) -> Plan:
    """Plan probabilistic U-Nets."""
    spec = partial(probabilistic_unet_spec, labels=len(request.dataset.values))
    return plan_with(request, "probabilistic_unet", spec)


def probabilistic_unet_spec(dimension: int, plan: Topology, first_features: int, *, labels: int) -> Component:
    """Return the spec of nnU-Net's plain U-Net with a latent variable; ``labels`` is an argument of the network."""
    unet = unet_spec(dimension, plan, first_features)
    del unet["deep_supervision"]
    return unet | {"name": "probabilistic_unet", "labels": labels, "latent": LATENT, "beta": BETA}
