"""The focal loss: cross-entropy that turns to voxels that are not yet right."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from autoseg.losses import losses
from autoseg.losses.labelled import check_for_classes_only
from autoseg.losses.voxelwise import VoxelwiseLoss, own, surprises
from autoseg.quantities import NonNegative

SMALLEST_BASE = 1e-6
"""What an exponent is taken of at least: below 1, its slope has no bound at 0."""


@losses.register("focal")
@dataclass(frozen=True, kw_only=True)
class Focal(VoxelwiseLoss):
    """The mean over voxels of −w (1 − p)^γ log p, of what is expected (Lin et al. 2017, equation 5).

    γ = 0 is the cross-entropy. ``weights`` are those of the classes, the background first, as those of
    ``cross_entropy``; Lin et al. divide by the number of objects, of which voxels know nothing. Of regions it is the
    mean over voxels and regions.
    """

    gamma: NonNegative = 2.0
    weights: list[NonNegative] | None = None

    def __post_init__(self) -> None:
        check_for_classes_only("weights", given=self.weights is not None, regions=self.regions)

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

    def weights_of(self, labels: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Return the weight of each voxel's class."""
        if self.weights is None:
            return super().weights_of(labels, dtype)
        return torch.tensor(self.weights, dtype=dtype, device=labels.device)[labels]

    def _focal(self, surprise: torch.Tensor) -> torch.Tensor:
        """Return (1 − p)^γ times ``surprise``, which is −log p."""
        return (-torch.expm1(-surprise)).clamp_min(SMALLEST_BASE) ** self.gamma * surprise
