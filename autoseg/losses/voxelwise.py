"""Voxelwise losses: the loss and the weight of each voxel, and their weighted mean."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from autoseg.errors import PlanError
from autoseg.losses.in_blocks import voxels_in_blocks
from autoseg.losses.labelled import LabelledLoss, check_for_classes_only
from autoseg.registry import NonNegative


@dataclass(frozen=True)
class VoxelLosses:
    """Losses of voxels, already weighted, and their weights; both [B,V], and 0 at ignored voxels."""

    losses: torch.Tensor
    weights: torch.Tensor

    def mean(self) -> torch.Tensor:
        """Return the sum of losses divided by the sum of weights; 0 if all voxels are ignored."""
        return self.losses.sum() / _divisor(self.weights.sum())


@dataclass(frozen=True, kw_only=True)
class VoxelwiseLoss(LabelledLoss, ABC):
    """A loss that is the weighted mean of the losses of single voxels.

    For regions, the loss of a voxel is the sum over the annotated regions, and its weight is their number.
    """

    @abstractmethod
    def of_classes(self, logarithms: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the losses of voxels, [B,N], from the log-softmax [B,classes,N] and the class indices [B,N]."""

    @abstractmethod
    def of_regions(self, logits: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
        """Return the losses of voxels for each region, [B,regions,N], from logits and masks of the same shape."""

    def weights_of(self, labels: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Return how much voxels of classes [B,N] weigh."""
        return torch.ones_like(labels, dtype=dtype)

    def voxels(self, logits: torch.Tensor, target: torch.Tensor, annotated: torch.Tensor | None) -> VoxelLosses:
        """Return the losses and weights of voxels, from logits [B,outputs,*space] and label indices [B,*space].

        ``annotated`` [B,regions] marks the annotated regions of each sample; None means all.
        """
        costs = voxels_in_blocks(lambda values, labels: self._costs(values, labels, annotated), logits, target)
        labels = target.flatten(1)
        counted = self.counted(labels)
        if self.regions is None:
            weights = self.weights_of(self.known(labels), costs.dtype)
        elif annotated is None:
            weights = torch.full_like(costs, len(self.regions))
        else:
            weights = annotated.sum(1, keepdim=True).to(costs.dtype).expand_as(costs)
        return VoxelLosses(costs, weights if counted is None else weights * counted)

    def _costs(self, logits: torch.Tensor, labels: torch.Tensor, annotated: torch.Tensor | None) -> torch.Tensor:
        counted = self.counted(labels)
        if self.regions is None:
            costs = self.of_classes(self.log_probabilities(logits), self.known(labels))
        else:
            each = self.of_regions(logits, self.masks(labels, logits.shape[1]))
            costs = (each if annotated is None else each * annotated[..., None]).sum(1)
        return costs if counted is None else costs * counted


@dataclass(frozen=True, kw_only=True)
class ClassWeightedLoss(VoxelwiseLoss):
    """A voxelwise loss with a weight for each class.

    ``weights`` has one entry for each class, the background first. As in PyTorch, the mean divides by the sum of the
    weights over voxels.
    """

    weights: list[NonNegative] | None = None

    def __post_init__(self) -> None:
        check_for_classes_only("weights", given=self.weights is not None, regions=self.regions)
        if self.weights is not None and not any(self.weights):
            raise PlanError(f"losses, argument 'weights': found {self.weights}, expected at least one above 0")

    def weights_of(self, labels: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Return how much voxels of classes [B,N] weigh."""
        if self.weights is None:
            return super().weights_of(labels, dtype)
        return torch.tensor(self.weights, dtype=dtype, device=labels.device)[labels]


def own(values: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the entries of ``values`` [B,classes,N] at the class ``labels`` [B,N] of each voxel, [B,N]."""
    return values.gather(1, labels[:, None])[:, 0]


def surprises(logits: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """Return −log of the sigmoid probability of the target, from logits and masks of the same shape."""
    # −log p is softplus(−x) and −log(1 − p) is softplus(x). A mask suffices; PyTorch's function needs a float target.
    return F.softplus(torch.where(expected, -logits, logits))


def _divisor(total: torch.Tensor) -> torch.Tensor:
    """Return ``total``, or 1 if it is 0; small totals are not changed."""
    return torch.where(total > 0, total, 1)
