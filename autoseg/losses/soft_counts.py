"""Soft confusion matrices (sums of probabilities), the basis of all overlap losses."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from autoseg.losses.in_blocks import sums_in_blocks
from autoseg.losses.labelled import LabelledLoss, check_for_classes_only


@dataclass(frozen=True)
class SoftCounts:
    """Sums over the valid voxels, [B,outputs], or [1,outputs] if the images of a batch are pooled."""

    overlap: torch.Tensor
    """Σ p·y, the true positives."""
    predicted: torch.Tensor
    """Σ p^s, the predicted voxels; s is 1 in most losses."""
    expected: torch.Tensor
    """Σ y, the voxels of the target."""
    voxels: torch.Tensor
    """Number of valid voxels."""
    measured: torch.Tensor | None
    """Mask of the annotated outputs; None means all."""

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Return the mean of ``values`` over the measured entries; ``values`` has the shape of the counts."""
        if self.measured is None:
            return values.mean()
        return (values * self.measured).sum() / self.measured.sum().clamp(min=1)


@dataclass(frozen=True, kw_only=True)
class OverlapLoss(LabelledLoss):
    """A loss of soft counts: one value for each class (one against the rest) or region, then the mean of these.

    With ``per_image``, sums run over each image and the losses of the images are averaged; otherwise sums run over the
    whole batch. ``background`` includes the background as a class. Regions that are not annotated in a sample are
    ignored.
    """

    per_image: bool = True
    background: bool = False

    def __post_init__(self) -> None:
        check_for_classes_only("background", given=self.background, regions=self.regions)

    def counts(
        self, logits: torch.Tensor, target: torch.Tensor, annotated: torch.Tensor | None, *, power: float = 1.0
    ) -> SoftCounts:
        """Return the soft counts of logits [B,outputs,*space] and label indices [B,*space]; ``power`` is the s of p^s.

        ``annotated`` [B,regions] marks the annotated regions of each sample; None means all.
        """
        sums = sums_in_blocks(lambda values, labels: self._sums(values, labels, power), logits, target)
        first = 0 if self.background or self.regions is not None else 1
        sums = sums[..., first:]
        if annotated is not None:
            sums = sums * annotated
        if not self.per_image:
            sums = sums.sum(1, keepdim=True)
            annotated = None if annotated is None else annotated.any(0, keepdim=True)
        overlap, predicted, expected, voxels = sums.unbind()
        return SoftCounts(overlap, predicted, expected, voxels, annotated)

    def _sums(self, logits: torch.Tensor, labels: torch.Tensor, power: float) -> torch.Tensor:
        """Return the sums overlap, predicted, expected and voxels of a block, [4,B,outputs]."""
        logarithms = self.log_probabilities(logits)
        masks, counted = self.masks(labels, logits.shape[1]), self.counted(labels)
        probabilities = logarithms.exp()
        # Powers are computed from the logarithm, so that the slope is finite at probability 0 for exponents below 1.
        powers = probabilities if power == 1 else (logarithms * power).exp()
        voxels = torch.full_like(logits[..., 0], labels.shape[1])
        if counted is not None:
            here = counted[:, None]
            masks, powers = masks & here, powers * here
            voxels = counted.sum(1, keepdim=True).to(logits.dtype).expand_as(voxels)
        overlap = (probabilities * masks).sum(2)
        return torch.stack([overlap, powers.sum(2), masks.sum(2).to(logits.dtype), voxels])
