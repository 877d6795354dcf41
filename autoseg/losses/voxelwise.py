"""Losses of single voxels: what each costs, how much it weighs, and their mean."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from autoseg.errors import PlanError
from autoseg.losses.in_blocks import voxels_in_blocks
from autoseg.losses.labelled import LabelledLoss, check_for_classes_only
from autoseg.quantities import NonNegative


@dataclass(frozen=True)
class VoxelLosses:
    """What voxels cost, and the weights whose sum a mean divides by, both [B,V]; both 0 where a voxel is ignored."""

    losses: torch.Tensor
    weights: torch.Tensor

    def mean(self) -> torch.Tensor:
        """Return the sum of losses by the sum of weights, 0 where nothing counts."""
        return self.losses.sum() / _divisor(self.weights.sum())


@dataclass(frozen=True, kw_only=True)
class VoxelwiseLoss(LabelledLoss, ABC):
    """A loss that is a mean over voxels of what each costs by itself.

    Of regions, a voxel's cost is the sum over those that were annotated, and its weight is their number.
    """

    @abstractmethod
    def of_classes(self, logarithms: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return what voxels cost, [B,N], by the log-softmax [B,classes,N] and their classes [B,N]."""

    @abstractmethod
    def of_regions(self, logits: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
        """Return what voxels cost for each region, [B,regions,N], by logits and masks of that shape."""

    def weights_of(self, labels: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Return how much voxels of classes [B,N] weigh."""
        return torch.ones_like(labels, dtype=dtype)

    def voxels(self, logits: torch.Tensor, target: torch.Tensor, annotated: torch.Tensor | None) -> VoxelLosses:
        """Return the costs of logits [B,outputs,*space] against label indices [B,*space].

        ``annotated`` [B,regions] tells which regions were annotated in each sample; None: all.
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
    """One whose voxels weigh as their class does.

    ``weights`` are those of the classes, the background first; a mean is by their sum over voxels, as PyTorch's.
    """

    weights: list[NonNegative] | None = None

    def __post_init__(self) -> None:
        check_for_classes_only("weights", given=self.weights is not None, regions=self.regions)
        if self.weights is not None and not any(self.weights):
            raise PlanError(f"losses, argument 'weights': found {self.weights}, expected one above 0 at least")

    def weights_of(self, labels: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Return how much voxels of classes [B,N] weigh."""
        if self.weights is None:
            return super().weights_of(labels, dtype)
        return torch.tensor(self.weights, dtype=dtype, device=labels.device)[labels]


def own(values: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return of ``values`` [B,classes,N] those of the classes [B,N] of the voxels, [B,N]."""
    return values.gather(1, labels[:, None])[:, 0]


def surprises(logits: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """Return −log of the probability of what is expected of sigmoids, by logits and masks of one shape."""
    # −log p is softplus(−x) and −log(1 − p) is softplus(x): a mask serves, where PyTorch's own wants a float target.
    return F.softplus(torch.where(expected, -logits, logits))


def _divisor(total: torch.Tensor) -> torch.Tensor:
    """Return what to divide by: 1 where nothing counts; a sum of small weights stays what it is."""
    return torch.where(total > 0, total, 1)
