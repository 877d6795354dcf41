"""Decisions shared by all configurations of a plan, and the draft of each configuration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autoseg.fingerprint.record import Fingerprint
from autoseg.learning.streams import check_streams
from autoseg.learning.trainer import build_trainer
from autoseg.plan.files import PLAN_VERSION
from autoseg.plan.schema import SUPERVISED, Configuration, Decision, Plan, voxels
from autoseg.planners.base import PlanRequest
from autoseg.planners.extra_channels import Extra, extra_specs
from autoseg.planners.family import Family
from autoseg.planners.fitting import SMALLEST_BATCH, Fitted
from autoseg.planners.mirroring import Mirroring, bounded, mirroring
from autoseg.planners.normalization import Normalized, normalization
from autoseg.planners.optional_channels import Dropped, channel_dropout
from autoseg.planners.recipe import objective, time_budget, training
from autoseg.planners.resources import Resources
from autoseg.planners.spacing import axis_order, median_shape, target_spacing
from autoseg.system.memory import format_bytes
from autoseg.system.units import numbers, times

ENOUGH_CONTEXT = 0.25
"""Share of the median image that a patch should cover; below it, a coarser resolution is also planned (nnU-Net)."""

Spacing = tuple[float | None, float, float]


@dataclass(frozen=True)
class Frame:
    """Decisions shared by all configurations of a plan."""

    request: PlanRequest
    spacing: tuple[float, float, float]
    order: tuple[int, int, int]
    normalized: Normalized
    mirrored: Mirroring
    dropped: Dropped
    extra: Extra

    @property
    def is_flat(self) -> bool:
        """Whether images are single slices."""
        return self.shape(self.spacing)[0] == 1

    def shape(self, spacing: Spacing) -> tuple[int, int, int]:
        """Return the shape of the median case in voxels at a spacing."""
        return median_shape(self.request.fingerprint, spacing, self.order)


def frame_of(request: PlanRequest) -> Frame:
    """Make the decisions that all configurations share."""
    dataset, fingerprint = request.dataset, request.fingerprint
    own_spacing = target_spacing(fingerprint)
    order = axis_order(fingerprint, own_spacing)
    spacing = (own_spacing[order[0]], own_spacing[order[1]], own_spacing[order[2]])
    return Frame(
        request,
        spacing=spacing,
        order=order,
        normalized=normalization(dataset, fingerprint),
        mirrored=mirroring(dataset, fingerprint, order),
        dropped=channel_dropout(dataset, fingerprint),
        extra=extra_specs(dataset, median_shape(fingerprint, spacing, order)),
    )


def context(configuration: Configuration) -> float:
    """Return the share of the median image, or of its slice in 2D, that a patch covers."""
    seen = configuration.median_shape[3 - configuration.dimension :]
    return min(1.0, voxels(configuration.patch_size) / voxels(seen))


def spacing_2d(frame: Frame) -> Spacing:
    """Return the spacing in 2D: the distance of slices is not resampled.

    If all cases have the same distance, 2D and 3D configurations share their preprocessed data.
    """
    own = frame.request.fingerprint.spacings[:, frame.order[0]]
    same = np.allclose(own, frame.spacing[0], rtol=1e-3)
    return (frame.spacing[0] if same else None, frame.spacing[1], frame.spacing[2])


def draft(frame: Frame, family: Family, dimension: int, spacing: Spacing) -> Configuration:
    """Make a configuration without its final patch, network and batch.

    Raises :class:`autoseg.errors.PlanError` if the trainer needs cases that the dataset lacks.
    """
    resources, shape = frame.request.resources, frame.shape(spacing)
    sampled = family.sampling(frame.request.dataset, frame.request.fingerprint)
    plain = Configuration(
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
        sampling=sampled.spec,
        augmentation={"name": "default", **frame.dropped.augmentation},
        training=training(time_budget(resources)),
        trainer=dict(frame.request.trainer or SUPERVISED),
        precision="bfloat16" if resources.bfloat16 else "float32",
    )
    streams = build_trainer(plain).streams(plain, frame.request.dataset)
    check_streams(plain.trainer_name, streams, frame.request.dataset)
    return family.revise(plain)


def assembled(
    frame: Frame, planner: str, configurations: Mapping[str, Configuration], explanation: Sequence[Decision]
) -> Plan:
    """Build a plan; its explanation starts with the shared decisions, followed by ``explanation``."""
    request = frame.request
    return Plan(
        version=PLAN_VERSION,
        dataset=request.dataset.name,
        planner=planner,
        transpose=frame.order,
        mirror_axes=frame.mirrored.axes,
        configurations={name: bounded(found, frame.mirrored) for name, found in configurations.items()},
        memory=request.resources.memory,
        explanation=(
            _spacing_decision(frame),
            *_orientation_decision(request.fingerprint),
            *_speed_decision(request.resources, configurations.values()),
            *frame.dropped.decisions,
            *frame.extra.decisions,
            *explanation,
        ),
        orientation=request.fingerprint.orientation,
        mirrored_classes=frame.mirrored.mirrored_classes,
    )


def _spacing_decision(frame: Frame) -> Decision:
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


def _speed_decision(resources: Resources, configurations: Iterable[Configuration]) -> list[Decision]:
    """Return the assumed speed of the machine for a training with a time budget; empty without one."""
    precisions = {found.precision for found in configurations if found.training.time_budget is not None}
    if not precisions or not (resources.is_here or resources.speed):
        return []
    from autoseg.planners.speed import speed_of_machine

    speeds = [speed_of_machine(resources.device, each, name=resources.speed) for each in sorted(precisions)]
    return [Decision("speed", "; ".join(speed.described for speed in speeds), ())]


def _orientation_decision(fingerprint: Fingerprint) -> list[Decision]:
    """Explain how images in different orientations are handled; empty if all have the same orientation."""
    counts = Counter(case.orientation or "unknown" for case in fingerprint.cases)
    if len(counts) == 1:
        return []
    found = ", ".join(f"{count} × {name}" for name, count in sorted(counts.items()))
    tilt = max(case.tilt for case in fingerprint.cases)
    what = f"turned to {fingerprint.orientation}" if fingerprint.orientation else "left as they are stored"
    return [Decision("data", f"images are {what}", (f"orientations: {found}; oblique by up to {tilt:.0f}°",))]


def summed_up(name: str, fitted: Fitted, request: PlanRequest) -> Decision:
    """Summarize a configuration."""
    configuration = fitted.configuration
    features: int | Sequence[int] = configuration.network["features"]
    listed = [features] if isinstance(features, int) else features
    peak = format_bytes(fitted.cost.peak_bytes(configuration.batch_size))
    return Decision(
        name,
        f"patch {times(configuration.patch_size)} of {times(configuration.median_shape)} at "
        f"{times(configuration.spacing)} mm, batch {configuration.batch_size}, features {numbers(listed)}, about "
        f"{peak} of {format_bytes(request.resources.memory)} in {configuration.precision}",
        (*fitted.reasons, f"a patch covers {context(configuration):.0%} of the median image"),
    )
