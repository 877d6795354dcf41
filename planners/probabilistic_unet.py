"""The planner of the probabilistic U-Net."""

from __future__ import annotations

from functools import partial

from autoseg.plan import Component, Plan
from autoseg.planners.base import PlanRequest, planners
from autoseg.planners.configurations import plan_with
from autoseg.planners.topology import Topology
from autoseg.planners.unet import unet_spec

LATENT = 6
"""Coordinates of the latent variable (Kohl et al. 2018, appendix)."""
BETA = 0.01
"""Loss for a nat by which the posterior tells more than the prior. The paper's 1 to 10 are for a sum over voxels; of a
Dice and a mean cross-entropy a tenth is much, and one of two plausible maps takes less than a nat to name."""


@planners.register("probabilistic_unet")
def plan_probabilistic_unet(request: PlanRequest) -> Plan:
    """Plan probabilistic U-Nets."""
    spec = partial(probabilistic_unet_spec, labels=len(request.dataset.values))
    return plan_with(request, "probabilistic_unet", spec)


def probabilistic_unet_spec(dimension: int, plan: Topology, first_features: int, *, labels: int) -> Component:
    """Describe nnU-Net's plain U-Net with a latent variable; ``labels`` as the network has them."""
    unet = unet_spec(dimension, plan, first_features)
    del unet["deep_supervision"]
    return unet | {"name": "probabilistic_unet", "labels": labels, "latent": LATENT, "beta": BETA}
