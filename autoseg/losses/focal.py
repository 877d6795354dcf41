"""The focal loss: cross-entropy that turns to voxels that are not yet right."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from autoseg.losses import losses
from autoseg.losses.voxelwise import ClassWeightedLoss, own, surprises
from autoseg.quantities import NonNegative

SMALLEST_BASE = 1e-6
"""What an exponent is taken of at least: below 1, its slope has no bound at 0."""


@losses.register("focal")
@dataclass(frozen=True, kw_only=True)
class Focal(ClassWeightedLoss):
    """The mean over voxels of −w (1 − p)^γ log p, of what is expected (Lin et al. 2017, equation 5).

    γ = 0 is the cross-entropy, and the mean is as that of ``cross_entropy``: Lin et al. divide by the objects, of
    which voxels know nothing. Of regions it is the mean over voxels and regions.
    """

    gamma: NonNegative = 2.0

    def __call__(
        self, logits: torch.Tensor, target: torch.Tensor, annotated: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the loss, a float32 scalar, of logits [B,outputs,*space] against label indices [B,*space]."""
        return self.voxels(logits, target, annotated).mean()

    def of_classes(self, logarithms: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the focal cost of each voxel, [B,N]."""
        return self._focal(-own(logarithms, labels)) * self.weights_of(labels, logarithms.dtype)

    def of_regions(self, logits: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
        """Return the focal cost of each region, [B,regions,N]."""
        return self._focal(surprises(logits, expected))

    def _focal(self, surprise: torch.Tensor) -> torch.Tensor:
        """Return (1 − p)^γ times ``surprise``, which is −log p."""
        return (-torch.expm1(-surprise)).clamp_min(SMALLEST_BASE) ** self.gamma * surprise
