"""Cross-entropy by itself, of classes or regions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Lt

from autoseg.losses import losses
from autoseg.losses.partial import NEVER
from autoseg.losses.voxelwise import ClassWeightedLoss, own, surprises

Smoothing = Annotated[float, Ge(0), Lt(1)]
"""Share of a label that is spread over all classes."""


@dataclass(frozen=True, kw_only=True)
class EntropyLoss(ClassWeightedLoss):
    """What all cross-entropies share.

    With ``label_smoothing`` ε the target is 1 − ε of a voxel's class and ε/C of each of all C (Szegedy et al. 2016), of
    a region 1 − ε/2 inside and ε/2 outside.
    """

    label_smoothing: Smoothing = 0.0

    def of_classes(self, logarithms: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return −w·log p of each voxel's class, [B,N], smoothed."""
        costs = -own(logarithms, labels) * self.weights_of(labels, logarithms.dtype)
        if not self.label_smoothing:
            return costs
        # A class that partial annotation hides cannot be predicted: no share of a label is spread to it.
        told = logarithms > NEVER / 2
        every = -torch.where(told, logarithms, 0)
        if self.weights is not None:
            every = every * logarithms.new_tensor(self.weights)[:, None]
        return (1 - self.label_smoothing) * costs + self.label_smoothing * every.sum(1) / told.sum(1)

    def of_regions(self, logits: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
        """Return the binary cross-entropy of each region, [B,regions,N], smoothed."""
        costs = surprises(logits, expected)
        if not self.label_smoothing:
            return costs
        # Of the other answer it is more by the logit towards this one.
        return costs + self.label_smoothing / 2 * torch.where(expected, logits, -logits)


@losses.register("cross_entropy")
@dataclass(frozen=True, kw_only=True)
class CrossEntropy(EntropyLoss):
    """The weighted mean of −log p over voxels, of regions that of the binary cross-entropy over voxels and regions.

    Weights by inverse frequency: ``autoseg plan --set 3d_fullres.loss.weights=inverse_frequency`` writes them to the
    plan as numbers; see :mod:`autoseg.planners.class_weights`.
    """

    def __call__(
        self, logits: torch.Tensor, target: torch.Tensor, annotated: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the loss, a float32 scalar, of logits [B,outputs,*space] against label indices [B,*space]."""
        return self.voxels(logits, target, annotated).mean()
