"""The focal loss: cross-entropy that gives less weight to voxels that are already classified well."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from autoseg.losses import losses
from autoseg.losses.voxelwise import ClassWeightedLoss, own, surprises
from autoseg.registry import NonNegative

SMALLEST_BASE = 1e-6
"""Lower bound of the base of the power: for an exponent below 1, the slope at 0 is infinite."""


@losses.register("focal")
@dataclass(frozen=True, kw_only=True)
class Focal(ClassWeightedLoss):
    """The mean over voxels of −w (1 − p)^γ log p, with p the probability of the target (Lin et al. 2017, equation 5).

    γ = 0 is the cross-entropy. The mean is that of ``cross_entropy``; Lin et al. divide by the number of objects, which
    does not exist for voxels. For regions the loss is the mean over voxels and regions.
    """

    gamma: NonNegative = 2.0

    def __call__(
        self, logits: torch.Tensor, target: torch.Tensor, annotated: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the loss, a float32 scalar, of logits [B,outputs,*space] for label indices [B,*space]."""
        return self.voxels(logits, target, annotated).mean()

    def of_classes(self, logarithms: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the focal loss of each voxel, [B,N]."""
        return self._focal(-own(logarithms, labels)) * self.weights_of(labels, logarithms.dtype)

    def of_regions(self, logits: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
        """Return the focal loss of each voxel and region, [B,regions,N]."""
        return self._focal(surprises(logits, expected))

    def _focal(self, surprise: torch.Tensor) -> torch.Tensor:
        """Return (1 − p)^γ times ``surprise``, which is −log p."""
        return (-torch.expm1(-surprise)).clamp_min(SMALLEST_BASE) ** self.gamma * surprise
