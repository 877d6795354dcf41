"""The configurations of a plan: ``2d``, ``3d_lowres``, ``3d_fullres`` and ``3d_cascade_fullres`` (nnU-Net's rules)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from autoseg.errors import PlanError
from autoseg.fingerprint import Fingerprint
from autoseg.memory import format_bytes
from autoseg.plan import PLAN_VERSION, Configuration, Decision, Plan, voxels
from autoseg.planners.base import PlanRequest
from autoseg.planners.extra_channels import Extra, extra_specs
from autoseg.planners.family import CONFIGURATIONS, Family
from autoseg.planners.fitting import SMALLEST_BATCH, Fitted, NetworkSpec, fit
from autoseg.planners.mirroring import bounded, mirroring
from autoseg.planners.missing import Dropped, channel_dropout
from autoseg.planners.normalization import Normalized, normalization
from autoseg.planners.objective import objective
from autoseg.planners.patches import Candidate
from autoseg.planners.recipe import time_budget, training
from autoseg.planners.sampling import Sampled
from autoseg.planners.spacing import axis_order, coarser, median_shape, target_spacing
from autoseg.planners.wording import numbers, times

ENOUGH_CONTEXT = 0.25
"""Share of the median image that a patch should see; below, a coarser resolution is planned as well (nnU-Net)."""
WORTH_LOWERING = 2.0
"""A coarser resolution must have at least this many times fewer voxels to be worth its training (nnU-Net)."""

Spacing = tuple[float | None, float, float]


@dataclass(frozen=True)
class _Frame:
    """What all configurations of a plan share."""

    request: PlanRequest
    spacing: tuple[float, float, float]
    order: tuple[int, int, int]
    normalized: Normalized
    network: NetworkSpec
    family: Family
    sampled: Sampled
    dropped: Dropped
    extra: Extra

    def shape(self, spacing: Spacing) -> tuple[int, int, int]:
        return median_shape(self.request.fingerprint, spacing, self.order)

    def fit(self, draft: Configuration, patches: Sequence[Candidate]) -> Fitted:
        most = self.family.most_samples.get(draft.dimension)
        return fit(draft, patches, self.request, self.network, most=most)


def plan_with(request: PlanRequest, planner: str, network: NetworkSpec, family: Family | None = None) -> Plan:
    """Plan every configuration that suits the data, or those that are asked for, with networks of one family."""
    family = family or Family()
    own_spacing = target_spacing(request.fingerprint)
    order = axis_order(request.fingerprint, own_spacing)
    spacing = (own_spacing[order[0]], own_spacing[order[1]], own_spacing[order[2]])
    normalized = normalization(request.dataset, request.fingerprint)
    sampled = family.sampling(request.dataset, request.fingerprint)
    dropped = channel_dropout(request.dataset, request.fingerprint)
    extra = extra_specs(request.dataset, median_shape(request.fingerprint, spacing, order))
    frame = _Frame(request, spacing, order, normalized, network, family, sampled, dropped, extra)
    mirrored = mirroring(request.dataset, request.fingerprint, order)
    fitted = _plan_all(frame)
    return Plan(
        version=PLAN_VERSION,
        dataset=request.dataset.name,
        planner=planner,
        transpose=order,
        mirror_axes=mirrored.axes,
        configurations={name: bounded(found.configuration, mirrored) for name, found in fitted.items()},
        memory=request.resources.memory,
        explanation=(
            _spacing_decision(frame),
            *_orientation_decision(request.fingerprint),
            *frame.normalized.decisions,
            *frame.dropped.decisions,
            *frame.extra.decisions,
            mirrored.decision,
            frame.sampled.decision,
            *(_decision(name, found, request) for name, found in fitted.items()),
        ),
        orientation=request.fingerprint.orientation,
        swap=mirrored.swap,
    )


def _plan_all(frame: _Frame) -> dict[str, Fitted]:
    """Plan what is wanted: what needs most memory first, so that too little of it is told by what would do for all."""
    names = _wanted(frame)
    found: dict[str, Fitted] = {}
    if set(names) - {"2d"}:
        fullres = _fit(frame, frame.spacing, 3)
        lowres = _lowres(frame, fullres) if set(names) - {"2d", "3d_fullres"} else None
        if lowres is not None:
            found["3d_lowres"] = lowres
            found["3d_cascade_fullres"] = _cascade(frame, fullres)
        found["3d_fullres"] = fullres
    if "2d" in names:
        found["2d"] = _fit(frame, _spacing_2d(frame), 2)
    missing = [name for name in frame.request.configurations or () if name not in found]
    if missing:
        share = _context(found["3d_fullres"].configuration)
        raise PlanError(
            f"configuration '{missing[0]}': a 3d_fullres patch sees {share:.0%} of the median image already, a coarser "
            f"resolution is for patches that see less than {ENOUGH_CONTEXT:.0%}; leave it out, or give less --memory"
        )
    return {name: found[name] for name in CONFIGURATIONS if name in found and name in names}


def _wanted(frame: _Frame) -> tuple[str, ...]:
    names = frame.request.configurations
    if not names:
        return ("2d",) if frame.shape(frame.spacing)[0] == 1 else frame.family.configurations
    unknown = [name for name in names if name not in CONFIGURATIONS]
    if unknown:
        raise PlanError(f"configuration '{unknown[0]}': expected one of {', '.join(CONFIGURATIONS)}")
    # A cascade cannot be trained without the stage before it.
    return (*names, "3d_lowres") if "3d_cascade_fullres" in names else names


def _fit(frame: _Frame, spacing: Spacing, dimension: int) -> Fitted:
    """Plan a configuration of its own patch at ``spacing``."""
    draft = _draft(frame, dimension, spacing)
    patches = frame.family.patches(draft.median_shape[3 - dimension :], draft.patch_spacing)
    fitted = frame.fit(draft, patches)
    if dimension == 3 and "batch_dice" in draft.loss and _context(fitted.configuration) < ENOUGH_CONTEXT:
        # Where a patch sees little of an image, a class is often missing from it: its Dice is that of the batch.
        loss = {**fitted.configuration.loss, "batch_dice": True}
        return replace(fitted, configuration=replace(fitted.configuration, loss=loss))
    return fitted


def _context(configuration: Configuration) -> float:
    """Return the share of the median image, or slice, that a patch sees."""
    seen = configuration.median_shape[3 - configuration.dimension :]
    return min(1.0, voxels(configuration.patch_size) / voxels(seen))


def _lowres(frame: _Frame, fullres: Fitted) -> Fitted | None:
    """Plan the finest resolution whose patch sees enough of the image; None where full resolution does, or almost."""
    seen = voxels(fullres.configuration.patch_size)
    for spacing in coarser(frame.spacing):
        # Patches hold about as many voxels at any resolution: only where that would do is one fitted.
        if seen < ENOUGH_CONTEXT * voxels(frame.shape(spacing)):
            continue
        fitted = _fit(frame, spacing, 3)
        if _context(fitted.configuration) >= ENOUGH_CONTEXT:
            break
        seen = voxels(fitted.configuration.patch_size)
    fewer = voxels(fullres.configuration.median_shape) / voxels(fitted.configuration.median_shape)
    return fitted if fewer >= WORTH_LOWERING else None


def _cascade(frame: _Frame, fullres: Fitted) -> Fitted:
    """Plan full resolution with the labels of ``3d_lowres`` as more input: the same patch, or what still fits."""
    configuration = fullres.configuration
    draft = replace(configuration, batch_size=SMALLEST_BATCH, previous_stage="3d_lowres")
    patches = frame.family.patches(configuration.median_shape, frame.spacing)
    first = [candidate.patch for candidate in patches].index(configuration.patch_size)
    return frame.fit(draft, patches[first:])


def _spacing_2d(frame: _Frame) -> Spacing:
    """Slices keep each case's own distance; where all have the same, 2D and 3D share their preprocessed data."""
    own = frame.request.fingerprint.spacings[:, frame.order[0]]
    same = np.allclose(own, frame.spacing[0], rtol=1e-3)
    return (frame.spacing[0] if same else None, frame.spacing[1], frame.spacing[2])


def _draft(frame: _Frame, dimension: int, spacing: Spacing) -> Configuration:
    """Decide all but patch, network and batch."""
    resources, shape = frame.request.resources, frame.shape(spacing)
    draft = Configuration(
        dimension=2 if dimension == 2 else 3,
        spacing=spacing,
        median_shape=shape,
        patch_size=shape[3 - dimension :],
        batch_size=SMALLEST_BATCH,
        normalization=frame.normalized.specs,
        input_layer=frame.normalized.input_layer,
        extra_channels=frame.extra.specs,
        network={},
        loss=objective(frame.request.dataset, batch_dice=dimension == 2),
        sampling=frame.sampled.spec,
        augmentation={"name": "default", **frame.dropped.augmentation},
        training=training(time_budget(resources)),
        precision="bfloat16" if resources.bfloat16 else "float32",
    )
    return frame.family.revise(draft)


def _spacing_decision(frame: _Frame) -> Decision:
    seen = frame.request.fingerprint.spacings[:, frame.order]
    low, middle, high = (np.percentile(seen, q, axis=0) for q in (10, 50, 90))
    return Decision(
        "data",
        f"target spacing {times(frame.spacing)} mm, coarsest axis first",
        (
            f"spacings of {len(seen)} cases: 10th percentile {times(low)}, median {times(middle)}, "
            f"90th percentile {times(high)} mm",
            f"axes z, y, x from here on are axes {numbers(frame.order)} of the files' (z, y, x)",
        ),
    )


def _orientation_decision(fingerprint: Fingerprint) -> list[Decision]:
    """Say what becomes of images that are stored in different orientations; nothing where there is but one."""
    counts = Counter(case.orientation or "unknown" for case in fingerprint.cases)
    if len(counts) == 1:
        return []
    found = ", ".join(f"{count} × {name}" for name, count in sorted(counts.items()))
    tilt = max(case.tilt for case in fingerprint.cases)
    what = f"turned to {fingerprint.orientation}" if fingerprint.orientation else "left as they are stored"
    return [Decision("data", f"images are {what}", (f"orientations: {found}; oblique by up to {tilt:.0f}°",))]


def _decision(name: str, fitted: Fitted, request: PlanRequest) -> Decision:
    """Sum a configuration up."""
    configuration = fitted.configuration
    features: int | Sequence[int] = configuration.network["features"]
    listed = [features] if isinstance(features, int) else features
    peak = format_bytes(fitted.cost.peak_bytes(configuration.batch_size))
    return Decision(
        name,
        f"patch {times(configuration.patch_size)} of {times(configuration.median_shape)} at "
        f"{times(configuration.spacing)} mm, batch {configuration.batch_size}, features {numbers(listed)}, about "
        f"{peak} of {format_bytes(request.resources.memory)} in {configuration.precision}",
        (*fitted.reasons, f"a patch sees {_context(configuration):.0%} of the median image"),
    )
