"""The L_p distance between probabilities and the target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Lt

from autoseg.losses import losses
from autoseg.losses.voxelwise import VoxelwiseLoss


@losses.register("lp")
@dataclass(frozen=True, kw_only=True)
class Lp(VoxelwiseLoss):
    """The mean over voxels of Σ |p − y|^P / P over all classes; for regions, the mean over voxels and regions.

    P is ``order``; P = 2 is half the squared error (Brier score). Moe (*Deep learning for automatic delineation of
    tumours from PET/CT images*, NMBU 2019) sums over voxels. A mean is used here, because neither it nor a suitable
    learning rate depends on the patch size.
    """

    order: Annotated[float, Ge(1), Lt(float("inf"))] = 2.0

    def __call__(
        self, logits: torch.Tensor, target: torch.Tensor, annotated: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the loss, a float32 scalar, of logits [B,outputs,*space] for label indices [B,*space]."""
        return self.voxels(logits, target, annotated).mean()

    def of_classes(self, logarithms: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of each voxel, [B,N]."""
        expected = self.masks(labels, logarithms.shape[1])
        return self._powers(logarithms.exp() - expected.to(logarithms.dtype)).sum(1)

    def of_regions(self, logits: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
        """Return the loss of each voxel and region, [B,regions,N]."""
        return self._powers(logits.sigmoid() - expected.to(logits.dtype))

    def _powers(self, differences: torch.Tensor) -> torch.Tensor:
        return differences.abs() ** self.order / self.order
