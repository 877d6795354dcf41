"""EMMA's planner: one plan of several networks, each trained in its own way, times several normalizations.

Ensembles of Multiple Models and Architectures (Kamnitsas et al., BrainLes 2017; table of the members: Kamnitsas, *Deep
learning for brain lesion segmentation*, Imperial College, chapter 4). Members are augmented as all networks are, and
those of padded convolutions predicted in tiles that overlap, where the paper takes whole images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from autoseg.plan import Component, Configuration, Decision, Plan
from autoseg.planners.base import PlanRequest, planners
from autoseg.planners.deepmedic import ITERATIONS
from autoseg.planners.designing import Design, fit_design
from autoseg.planners.emma_members import NETWORKS, NORMALIZATIONS, Member, Network, chosen_members
from autoseg.planners.fitting import Fitted
from autoseg.planners.frame import Frame, assembled, frame_of, spacing_2d, summed_up
from autoseg.planners.normalization import Normalized, is_free, normalization
from autoseg.planners.recipe import time_budget
from autoseg.units import format_duration

ADMITTED_WITHIN = 0.03
"""Mean Dice by which a member may be behind the best one to have a say: the paper admits what reaches 87 % of whole
tumours, where the best of its members reaches 90 %. One that is 0.04 behind costs three others 0.0006
(benchmarks/README.md)."""
FOLDS = 5
"""What the time of the whole is told for."""


@planners.register("emma")
def plan_emma(request: PlanRequest) -> Plan:
    """Plan the members that are asked for, by ``members`` or as configurations, or else all."""
    frame = frame_of(request)
    dimension = 2 if frame.is_flat else 3
    variants = _variants(frame)
    members = chosen_members(request, dimension, tuple(variants))
    fitted = {network.name: _fit(frame, network, dimension) for network in _networks(members)}
    configurations = {
        member.configuration(dimension): _with(fitted[member.network.name], variants[member.normalization])
        for member in members
    }
    plan = assembled(
        frame,
        "emma",
        configurations,
        (
            *_normalization_decisions(frame, variants, members),
            frame.mirrored.decision,
            _ensemble_decision(frame, members, configurations),
            *(_decision(network, fitted[network.name], frame, members) for network in _networks(members)),
        ),
    )
    return replace(plan, admission=ADMITTED_WITHIN)


def _variants(frame: Frame) -> dict[str, Normalized]:
    """Return each normalization that members may have: one only where no channel leaves a choice."""
    dataset, fingerprint = frame.request.dataset, frame.request.fingerprint
    if not any(is_free(channel, dataset) for channel in dataset.channels):
        return {next(iter(NORMALIZATIONS)): frame.normalized}
    return {name: normalization(dataset, fingerprint, instead_of_z_score=spec) for name, spec in NORMALIZATIONS.items()}


def _networks(members: Sequence[Member]) -> list[Network]:
    """Return the networks of some members, each once."""
    return list({member.network.name: member.network for member in members}.values())


def _fit(frame: Frame, network: Network, dimension: int) -> Fitted:
    """Fit a network to memory and time, as its normalizations have the same channels once for all of them."""
    spacing = spacing_2d(frame) if dimension == 2 else frame.spacing
    return fit_design(frame, Design(network.spec, network.family), spacing, dimension)


def _with(fitted: Fitted, normalized: Normalized) -> Configuration:
    return replace(fitted.configuration, normalization=normalized.specs)


def _normalization_decisions(
    frame: Frame, variants: dict[str, Normalized], members: Sequence[Member]
) -> tuple[Decision, ...]:
    """Say what each normalization does to each channel, or why there is no choice."""
    if len(variants) == 1:
        reason = "bias field and histogram are corrected only where neither dataset.json nor a channel's name says how"
        alike = Decision("data", "the same normalization for all members", (reason,))
        return (*frame.normalized.decisions, alike)
    wanted = {member.normalization for member in members}
    return tuple(
        replace(decision, about=f"data of {name}")
        for name, variant in variants.items()
        if name in wanted
        for decision in variant.decisions
    )


def _ensemble_decision(frame: Frame, members: Sequence[Member], planned: dict[str, Configuration]) -> Decision:
    """Say how many trainings there are, how long they take, and what becomes of them."""
    networks = len(_networks(members))
    budget = time_budget(frame.request.resources)
    each = f"{ITERATIONS:,} steps" if budget is None else format_duration(budget)
    count = len(planned)
    whole = f"{count * FOLDS * ITERATIONS:,} steps" if budget is None else format_duration(count * FOLDS * budget)
    left = [network.name for network in NETWORKS if network not in _networks(members)]
    return Decision(
        "ensemble",
        f"{count} configurations of {networks} networks; {each} for a fold of each, {whole} for {FOLDS} folds of all, "
        "on one device",
        (
            f"each predicts by itself; probabilities of those within {ADMITTED_WITHIN:g} of the best mean Dice in "
            "cross-validation are averaged with equal weights ('admission' in the plan)",
            *(("each has its published optimizer where no time budget bounds it",) if budget is not None else ()),
            *((f"left out by choice of members: {', '.join(left)}",) if left else ()),
            "fewer: --members, such as 'unet_sum,fcn', 'unet_sum/z_score', or 'z_score' for every network with it",
        ),
    )


def _decision(network: Network, fitted: Fitted, frame: Frame, members: Sequence[Member]) -> Decision:
    """Sum a network up, for all its normalizations, with what is its own."""
    planned = fitted.configuration
    names = [member.configuration(planned.dimension) for member in members if member.network is network]
    decision = summed_up(", ".join(names), fitted, frame.request)
    own = (
        f"{network.origin}: loss {_named(planned.loss)}, sampling {_named(planned.sampling)}, "
        f"optimizer {_named(planned.training.optimizer)}, schedule {planned.training.schedule['name']}"
    )
    return replace(decision, reasons=(own, *decision.reasons))


def _named(component: Component) -> str:
    """Write a component as a person would."""
    arguments = [f"{key} {value}" for key, value in component.items() if key not in ("name", "regions")]
    return f"{component['name']} ({', '.join(arguments)})" if arguments else str(component["name"])
