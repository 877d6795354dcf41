"""Cross-entropy by itself, of classes or regions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Lt

from autoseg.losses import losses
from autoseg.losses.labelled import check_for_classes_only
from autoseg.losses.partial import NEVER
from autoseg.losses.voxelwise import VoxelwiseLoss, own, surprises
from autoseg.quantities import NonNegative

Smoothing = Annotated[float, Ge(0), Lt(1)]
"""Share of a label that is spread over all classes."""


@dataclass(frozen=True, kw_only=True)
class EntropyLoss(VoxelwiseLoss):
    """What all cross-entropies share.

    ``weights`` are those of the classes, the background first; a mean is then by their sum over voxels, as PyTorch's.
    With ``label_smoothing`` ε the target is 1 − ε of a voxel's class and ε/C of each of all C (Szegedy et al. 2016), of
    a region 1 − ε/2 inside and ε/2 outside.
    """

    weights: list[NonNegative] | None = None
    label_smoothing: Smoothing = 0.0

    def __post_init__(self) -> None:
        check_for_classes_only("weights", given=self.weights is not None, regions=self.regions)

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

    def weights_of(self, labels: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Return the weight of each voxel's class."""
        if self.weights is None:
            return torch.ones_like(labels, dtype=dtype)
        return torch.tensor(self.weights, dtype=dtype, device=labels.device)[labels]


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
