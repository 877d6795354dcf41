"""Planners by nnU-Net's rules: one for each entry of ``plans`` in a network's class."""

from __future__ import annotations

from functools import partial

from autoseg.networks import networks
from autoseg.networks.planning import NetworkSpec, Plans
from autoseg.plan.schema import Plan
from autoseg.planners.base import PlanRequest, planners
from autoseg.planners.configurations import plan_with


def plan_network(request: PlanRequest, *, planner: str, network: NetworkSpec) -> Plan:
    """Plan all configurations that suit the data with networks of one kind."""
    return plan_with(request, planner, network)


def register_networks() -> None:
    """Register a planner for each entry of ``plans`` of each network, including networks of other packages."""
    for network in networks.loaded().values():
        plans: Plans = getattr(network, "plans", {})
        for planner, spec in plans.items():
            planners.register(planner)(partial(plan_network, planner=planner, network=spec))


register_networks()
