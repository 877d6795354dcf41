"""The configurations of a plan: ``2d``, ``3d_lowres``, ``3d_fullres`` and ``3d_cascade_fullres`` (nnU-Net's rules)."""

from __future__ import annotations

from dataclasses import replace

from autoseg.errors import PlanError
from autoseg.networks.planning import NetworkSpec
from autoseg.plan.schema import Plan, voxels
from autoseg.planners.base import PlanRequest
from autoseg.planners.designing import Design, fit_design
from autoseg.planners.family import CONFIGURATIONS, NNUNET, Family
from autoseg.planners.fitting import SMALLEST_BATCH, Fitted
from autoseg.planners.frame import (
    ENOUGH_CONTEXT,
    Frame,
    assembled,
    context,
    frame_of,
    spacing_2d,
    summed_up,
)
from autoseg.planners.spacing import coarser

WORTH_LOWERING = 2.0
"""Smallest ratio of voxels between full and low resolution from which ``3d_lowres`` is planned (nnU-Net)."""


def plan_with(request: PlanRequest, planner: str, network: NetworkSpec, family: Family = NNUNET) -> Plan:
    """Plan all configurations that suit the data, or the requested ones, with networks of one family."""
    if request.members:
        raise PlanError(f"members: planner '{planner}' has no members; omit --members, or plan with --planner emma")
    frame, design = frame_of(request), Design(network, family)
    found = _plan_all(frame, design)
    return assembled(
        frame,
        planner,
        {name: fitted.configuration for name, fitted in found.items()},
        (
            *frame.normalized.decisions,
            frame.mirrored.decision,
            family.sampling(request.dataset, request.fingerprint).decision,
            *(summed_up(name, fitted, request) for name, fitted in found.items()),
        ),
    )


def _plan_all(frame: Frame, design: Design) -> dict[str, Fitted]:
    """Plan the wanted configurations; the largest first, so that an error names enough memory for all of them."""
    names = _wanted(frame, design.family)
    found: dict[str, Fitted] = {}
    if set(names) - {"2d"}:
        fullres = fit_design(frame, design, frame.spacing, 3)
        lowres = _lowres(frame, design, fullres) if set(names) - {"2d", "3d_fullres"} else None
        if lowres is not None:
            found["3d_lowres"] = lowres
            found["3d_cascade_fullres"] = _cascade(frame, design, fullres)
        found["3d_fullres"] = fullres
    if "2d" in names:
        found["2d"] = fit_design(frame, design, spacing_2d(frame), 2)
    missing = [name for name in frame.request.configurations or () if name not in found]
    if missing:
        share = context(found["3d_fullres"].configuration)
        raise PlanError(
            f"configuration '{missing[0]}': a 3d_fullres patch covers {share:.0%} of the median image, expected less "
            f"than {ENOUGH_CONTEXT:.0%} for a coarser resolution; leave it out, or plan with less --memory"
        )
    return {name: found[name] for name in CONFIGURATIONS if name in found and name in names}


def _wanted(frame: Frame, family: Family) -> tuple[str, ...]:
    names = frame.request.configurations
    if not names:
        return ("2d",) if frame.is_flat else family.configurations
    unknown = [name for name in names if name not in CONFIGURATIONS]
    if unknown:
        raise PlanError(f"configuration '{unknown[0]}': expected one of {', '.join(CONFIGURATIONS)}")
    # A cascade needs its previous stage.
    return (*names, "3d_lowres") if "3d_cascade_fullres" in names else names


def _lowres(frame: Frame, design: Design, fullres: Fitted) -> Fitted | None:
    """Plan the finest resolution whose patch covers enough of the image; None if it is close to full resolution."""
    seen = voxels(fullres.configuration.patch_size)
    for spacing in coarser(frame.spacing):
        # The patch has about the same number of voxels at all resolutions: skip those for which it is too small.
        if seen < ENOUGH_CONTEXT * voxels(frame.shape(spacing)):
            continue
        fitted = fit_design(frame, design, spacing, 3)
        if context(fitted.configuration) >= ENOUGH_CONTEXT:
            break
        seen = voxels(fitted.configuration.patch_size)
    fewer = voxels(fullres.configuration.median_shape) / voxels(fitted.configuration.median_shape)
    return fitted if fewer >= WORTH_LOWERING else None


def _cascade(frame: Frame, design: Design, fullres: Fitted) -> Fitted:
    """Plan full resolution with the labels of ``3d_lowres`` as input: the same patch, or the largest that fits."""
    configuration = fullres.configuration
    draft = replace(configuration, batch_size=SMALLEST_BATCH, previous_stage="3d_lowres")
    patches = design.family.patches(configuration.median_shape, configuration.patch_spacing)
    first = [candidate.patch for candidate in patches].index(configuration.patch_size)
    return design.fit(draft, patches[first:], frame.request)
