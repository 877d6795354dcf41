"""Base class of losses for classes that exclude each other (softmax) or for regions that may overlap (sigmoid)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from autoseg.errors import PlanError
from autoseg.losses.dice_binary_cross_entropy import region_masks


@dataclass(frozen=True, kw_only=True)
class LabelledLoss:
    """A loss of a softmax over classes or, with ``regions``, of one sigmoid for each region.

    ``regions`` lists, for each output, the label indices that make up its region. Voxels whose target is
    ``ignore_index`` are ignored.
    """

    regions: list[list[int]] | None = None
    ignore_index: int | None = None

    @property
    def activation(self) -> str:
        """Function that turns logits into probabilities: ``softmax`` or ``sigmoid``."""
        return "softmax" if self.regions is None else "sigmoid"

    def log_probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the logarithm of the probability of each output, [B,outputs,N]."""
        return F.log_softmax(logits, dim=1) if self.regions is None else F.logsigmoid(logits)

    def masks(self, labels: torch.Tensor, outputs: int) -> torch.Tensor:
        """Return the mask of each class or region, [B,outputs,N] bool, for label indices [B,N]."""
        if self.regions is not None:
            return region_masks(labels, self.regions)
        return labels[:, None] == torch.arange(outputs, device=labels.device)[:, None]

    def counted(self, labels: torch.Tensor) -> torch.Tensor | None:
        """Return a mask of the voxels that count, shaped as ``labels``; None if all count."""
        return None if self.ignore_index is None else labels != self.ignore_index

    def known(self, labels: torch.Tensor) -> torch.Tensor:
        """Return ``labels`` with ignored voxels set to background (0)."""
        counted = self.counted(labels)
        return labels if counted is None else labels.where(counted, 0)


def check_for_classes_only(field: str, *, given: bool, regions: Sequence[Sequence[int]] | None) -> None:
    """Raise :class:`PlanError` if a field for classes is ``given`` for a loss of regions."""
    if given and regions is not None:
        raise PlanError(
            f"losses, argument '{field}': found together with 'regions', expected only for a loss of classes; remove it"
        )
