"""Planner of EMMA: an ensemble of several networks, each with its own training, times several normalizations.

Ensembles of Multiple Models and Architectures (Kamnitsas et al., BrainLes 2017; table of the members: Kamnitsas, *Deep
learning for brain lesion segmentation*, Imperial College, chapter 4). Two things differ from the paper: members use the
augmentation of all networks, and members with padded convolutions predict overlapping tiles instead of whole images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from autoseg.plan.schema import Configuration, Decision, Plan
from autoseg.planners.base import PlanRequest, planners
from autoseg.planners.deepmedic import ITERATIONS
from autoseg.planners.designing import Design, fit_design
from autoseg.planners.emma_members import NETWORKS, NORMALIZATIONS, Member, Network, chosen_members
from autoseg.planners.fitting import Fitted
from autoseg.planners.frame import Frame, assembled, frame_of, spacing_2d, summed_up
from autoseg.planners.normalization import Normalized, is_free, normalization
from autoseg.planners.recipe import time_budget
from autoseg.registry import Component
from autoseg.system.units import format_duration

ADMITTED_WITHIN = 0.03
"""Largest difference in mean Dice to the best member for a member of the ensemble: the paper admits networks from a
Dice of 87 % for whole tumours; its best member reaches 90 %. A member that is 0.04 behind lowers the Dice of an
ensemble with three others by 0.0006 (benchmarks/README.md)."""
FOLDS = 5
"""Number of folds for which the total time is given."""


@planners.register("emma")
def plan_emma(request: PlanRequest) -> Plan:
    """Plan the members requested by ``members`` or ``configurations``; all members by default."""
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
    return replace(plan, dice_margin=ADMITTED_WITHIN)


def _variants(frame: Frame) -> dict[str, Normalized]:
    """Return the possible normalizations of members; only one if the normalization of every channel is fixed."""
    dataset, fingerprint = frame.request.dataset, frame.request.fingerprint
    if not any(is_free(channel, dataset) for channel in dataset.channels):
        return {next(iter(NORMALIZATIONS)): frame.normalized}
    return {name: normalization(dataset, fingerprint, instead_of_z_score=spec) for name, spec in NORMALIZATIONS.items()}


def _networks(members: Sequence[Member]) -> list[Network]:
    """Return the networks of the members, without duplicates."""
    return list({member.network.name: member.network for member in members}.values())


def _fit(frame: Frame, network: Network, dimension: int) -> Fitted:
    """Fit a network to memory and time, once for all normalizations, because they have the same channels."""
    spacing = spacing_2d(frame) if dimension == 2 else frame.spacing
    return fit_design(frame, Design(network.spec, network.family), spacing, dimension)


def _with(fitted: Fitted, normalized: Normalized) -> Configuration:
    return replace(fitted.configuration, normalization=normalized.specs)


def _normalization_decisions(
    frame: Frame, variants: dict[str, Normalized], members: Sequence[Member]
) -> tuple[Decision, ...]:
    """Explain each normalization of each channel, or why there is only one."""
    if len(variants) == 1:
        reason = "bias field and histogram are corrected only if dataset.json and channel names set no normalization"
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
    """Explain the number of trainings, their duration, and how the ensemble is formed."""
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
            f"members predict independently; probabilities of members within {ADMITTED_WITHIN:g} of the best mean Dice "
            "in cross-validation are averaged with equal weights ('dice_margin' in the plan)",
            *(("without a time budget, each member has its published optimizer",) if budget is not None else ()),
            *((f"not in --members: {', '.join(left)}",) if left else ()),
            "for fewer members, use --members, for example 'unet_sum,fcn', 'unet_sum/z_score', or 'z_score' for all "
            "networks with z_score",
        ),
    )


def _decision(network: Network, fitted: Fitted, frame: Frame, members: Sequence[Member]) -> Decision:
    """Summarize a network for all its normalizations, with its own loss, sampling, optimizer and schedule."""
    planned = fitted.configuration
    names = [member.configuration(planned.dimension) for member in members if member.network is network]
    decision = summed_up(", ".join(names), fitted, frame.request)
    own = (
        f"{network.origin}: loss {_named(planned.loss)}, sampling {_named(planned.sampling)}, "
        f"optimizer {_named(planned.training.optimizer)}, schedule {planned.training.schedule['name']}"
    )
    return replace(decision, reasons=(own, *decision.reasons))


def _named(component: Component) -> str:
    """Format a component for readers: its name with its arguments."""
    arguments = [f"{key} {value}" for key, value in component.items() if key not in ("name", "regions")]
    return f"{component['name']} ({', '.join(arguments)})" if arguments else str(component["name"])
