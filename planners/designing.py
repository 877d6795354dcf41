"""Fit a design to memory and time: in a short time with coarser spacing, smaller patches and higher learning rates."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from autoseg.networks.planning import NetworkSpec
from autoseg.plan.schema import Configuration, voxels
from autoseg.planners.base import PlanRequest
from autoseg.planners.family import NNUNET, Family
from autoseg.planners.fitting import (
    FEWEST_ITERATIONS,
    FIRST_FEATURES,
    Fitted,
    check_time,
    fit,
    fit_narrower,
    fit_smaller,
    voxels_in_time,
)
from autoseg.planners.frame import ENOUGH_CONTEXT, Frame, Spacing, context, draft
from autoseg.planners.patches import Candidate, candidates
from autoseg.planners.recipe import hastened
from autoseg.planners.spacing import SPACING_STEP
from autoseg.system.units import times

logger = logging.getLogger("autoseg.planning")

LEAST_THICKNESS = 12.0
"""Smallest mean thickness of objects in voxels after images are coarsened to save time."""
WORTH_COARSENING = 1.3
"""Smallest reduction factor of the number of voxels from which images are coarsened."""


@dataclass(frozen=True)
class Design:
    """A network with the planning rules of its family."""

    network: NetworkSpec
    family: Family = NNUNET

    def fit(
        self,
        draft: Configuration,
        patches: Sequence[Candidate],
        request: PlanRequest,
        widest: int = FIRST_FEATURES[0],
    ) -> Fitted:
        """Fit a draft to memory and time."""
        return fit(draft, patches, request, self.network, most=self._most(draft), widest=widest)

    def fit_smaller(self, fitted: Fitted, patches: Sequence[Candidate], request: PlanRequest) -> Fitted:
        """Fit a smaller patch to save time."""
        return fit_smaller(fitted, patches, request, self.network, most=self._most(fitted.configuration))

    def fit_narrower(self, fitted: Fitted, request: PlanRequest) -> Fitted:
        """Fit fewer features if very few steps fit into the time."""
        return fit_narrower(fitted, request, self.network, most=self._most(fitted.configuration))

    def _most(self, draft: Configuration) -> int | None:
        return self.family.most_samples.get(draft.dimension)


def fit_design(frame: Frame, design: Design, spacing: Spacing, dimension: int) -> Fitted:
    """Plan a configuration at ``spacing``, or at a coarser one if the time is short."""
    logger.info("planning in %dD: counting memory and work of training steps", dimension)
    fitted = _hastened(fit_in_time(frame, design, spacing, dimension))
    loss = fitted.configuration.loss
    if dimension == 3 and "batch_dice" in loss and context(fitted.configuration) < ENOUGH_CONTEXT:
        # A small patch often misses a class: compute the Dice over the batch.
        return replace(fitted, configuration=replace(fitted.configuration, loss={**loss, "batch_dice": True}))
    return fitted


def fit_in_time(frame: Frame, design: Design, spacing: Spacing, dimension: int) -> Fitted:
    """Fit a configuration; if time is short, first with coarser spacing, then with a smaller patch.

    A coarser spacing gives more context around a voxel in the same time, but thin objects are lost: the thickness of
    the objects limits it.
    """

    def fitted_at(spacing: Spacing, widest: int = FIRST_FEATURES[0]) -> tuple[Fitted, Sequence[Candidate]]:
        drafted = draft(frame, design.family, dimension, spacing)
        patches = design.family.patches(drafted.median_shape[3 - dimension :], drafted.patch_spacing)
        return design.fit(drafted, patches, frame.request, widest), patches

    fitted, patches = fitted_at(spacing)
    if not _lacks_time(fitted):
        return fitted
    coarse = _coarser_in_time(frame, design, fitted)
    if coarse is not None:
        reason = (
            f"spacing {times(spacing)} mm: {fitted.steps:,} steps fit into the time, fewer than {FEWEST_ITERATIONS:,}"
        )
        fitted, patches = fitted_at(coarse, fitted.first_features)
        fitted = replace(fitted, reasons=(reason, *fitted.reasons))
    if _lacks_time(fitted):
        fitted = design.fit_smaller(fitted, patches, frame.request)
    return check_time(design.fit_narrower(fitted, frame.request))


def _hastened(fitted: Fitted) -> Fitted:
    """Adapt the learning rates to a training of few steps."""
    if fitted.steps is None:
        return fitted
    configuration = fitted.configuration
    return replace(
        fitted,
        configuration=replace(configuration, training=hastened(configuration.training, fitted.steps)),
    )


def _lacks_time(fitted: Fitted) -> bool:
    return fitted.steps is not None and fitted.steps < FEWEST_ITERATIONS


def _coarser_in_time(frame: Frame, design: Design, fitted: Fitted) -> Spacing | None:
    """Return a spacing at which a patch that fits the time covers the whole image, or the coarsest possible spacing.

    The finest axes are coarsened first. None if objects are too thin, or if the family has its own patch sizes.
    """
    configuration = fitted.configuration
    thickness = frame.request.fingerprint.thickness
    if thickness is None or design.family.patches is not candidates:
        return None
    axes = range(3 - configuration.dimension, 3)
    own = [step or 0.0 for step in configuration.spacing]
    coarsest = [max(own[axis], thickness[frame.order[axis]] / LEAST_THICKNESS) for axis in range(3)]
    wanted = voxels(configuration.median_shape[axes.start :]) / voxels_in_time(fitted)
    found, edge = own, min(own[axis] for axis in axes)
    while voxels_fewer(own, found) < wanted and any(found[axis] < coarsest[axis] for axis in axes):
        edge *= SPACING_STEP
        found = [max(own[a], min(edge, coarsest[a])) if a in axes else own[a] for a in range(3)]
    if voxels_fewer(own, found) < WORTH_COARSENING:
        return None
    return (configuration.spacing[0] and found[0], found[1], found[2])


def voxels_fewer(own: Sequence[float], coarse: Sequence[float]) -> float:
    """Return how many times fewer voxels images have at a coarser spacing."""
    return float(np.prod([b / a for a, b in zip(own, coarse, strict=True) if a]))
