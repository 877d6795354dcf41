"""Cross-entropy without a Dice term, for classes or regions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Lt

from autoseg.losses import losses
from autoseg.losses.partial import NEVER
from autoseg.losses.voxelwise import ClassWeightedLoss, own, surprises

Smoothing = Annotated[float, Ge(0), Lt(1)]
"""Fraction of a label that label smoothing distributes over all classes."""


@dataclass(frozen=True, kw_only=True)
class EntropyLoss(ClassWeightedLoss):
    """Base class of the cross-entropy losses.

    With ``label_smoothing`` ε the target is 1 − ε for the class of a voxel, plus ε/C for each of all C classes (Szegedy
    et al. 2016). For a region the target is 1 − ε/2 inside and ε/2 outside.
    """

    label_smoothing: Smoothing = 0.0

    def of_classes(self, logarithms: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return −w·log p of the class of each voxel, [B,N], with label smoothing."""
        costs = -own(logarithms, labels) * self.weights_of(labels, logarithms.dtype)
        if not self.label_smoothing:
            return costs
        # Partial annotation hides some classes (see NEVER): they get no part of the smoothed label.
        told = logarithms > NEVER / 2
        every = -torch.where(told, logarithms, 0)
        if self.weights is not None:
            every = every * logarithms.new_tensor(self.weights)[:, None]
        return (1 - self.label_smoothing) * costs + self.label_smoothing * every.sum(1) / told.sum(1)

    def of_regions(self, logits: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
        """Return the binary cross-entropy of each region, [B,regions,N], with label smoothing."""
        costs = surprises(logits, expected)
        if not self.label_smoothing:
            return costs
        # The cross-entropy of the opposite target is larger by x inside a region and by −x outside.
        return costs + self.label_smoothing / 2 * torch.where(expected, logits, -logits)


@losses.register("cross_entropy")
@dataclass(frozen=True, kw_only=True)
class CrossEntropy(EntropyLoss):
    """The weighted mean of −log p over voxels; for regions, the mean binary cross-entropy over voxels and regions.

    To weight classes by inverse frequency, use ``autoseg plan --set 3d_fullres.loss.weights=inverse_frequency``, which
    writes the weights to the plan as numbers; see :mod:`autoseg.planners.class_weights`.
    """

    def __call__(
        self, logits: torch.Tensor, target: torch.Tensor, annotated: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the loss, a float32 scalar, of logits [B,outputs,*space] for label indices [B,*space]."""
        return self.voxels(logits, target, annotated).mean()
