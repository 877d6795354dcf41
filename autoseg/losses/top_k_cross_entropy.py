"""Cross-entropy of the hardest voxels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Gt, Le

from autoseg.losses import losses
from autoseg.losses.cross_entropy import EntropyLoss
from autoseg.losses.voxelwise import VoxelLosses


@losses.register("top_k_cross_entropy")
@dataclass(frozen=True, kw_only=True)
class TopKCrossEntropy(EntropyLoss):
    """The mean cross-entropy over the ``share`` of voxels of a batch with the highest loss (Wu et al. 2016).

    nnU-Net uses a tenth. All voxels whose loss equals the lowest selected loss are also selected, so that the result
    does not depend on the order of voxels. For regions, the loss of a voxel is the mean over its regions.
    """

    share: Annotated[float, Gt(0), Le(1)] = 0.1

    def __call__(
        self, logits: torch.Tensor, target: torch.Tensor, annotated: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the loss, a float32 scalar, of logits [B,outputs,*space] for label indices [B,*space]."""
        voxels = self.voxels(logits, target, annotated)
        costs = voxels.losses if self.regions is None else voxels.losses / voxels.weights.clamp(min=1)
        counts = voxels.weights > 0
        hard = counts & (costs >= self._hardest(costs.detach(), counts))
        weights = voxels.weights if self.regions is None else torch.ones_like(costs)
        return VoxelLosses(costs * hard, weights * hard).mean()

    def _hardest(self, costs: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """Return the lowest loss among the hardest voxels, a scalar."""
        most = max(1, round(self.share * costs.numel()))
        highest = costs.flatten().topk(most).values
        # Ignored voxels have loss 0 and come last. The count of valid voxels stays on the device: no synchronization.
        wanted = (self.share * counts.sum()).round().long().clamp(min=1, max=most)
        return highest.gather(0, (wanted - 1)[None])[0]
