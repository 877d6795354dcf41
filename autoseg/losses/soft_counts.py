"""Confusion matrices of probabilities: what all losses of overlap are made of."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from autoseg.losses.in_blocks import sums_in_blocks
from autoseg.losses.labelled import LabelledLoss, check_for_classes_only


@dataclass(frozen=True)
class SoftCounts:
    """Sums over the voxels that count, [B,outputs], or [1,outputs] where the images of a batch are pooled."""

    overlap: torch.Tensor
    """Σ p·y, the true positives."""
    predicted: torch.Tensor
    """Σ p^s."""
    expected: torch.Tensor
    """Σ y."""
    voxels: torch.Tensor
    """Of all kinds."""
    measured: torch.Tensor | None
    """Where there is anything to measure; None: everywhere."""

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Return the mean of ``values``, shaped as the counts, over what is measured."""
        if self.measured is None:
            return values.mean()
        return (values * self.measured).sum() / self.measured.sum().clamp(min=1)


@dataclass(frozen=True, kw_only=True)
class OverlapLoss(LabelledLoss):
    """A loss of soft counts: each class against the rest, then the mean over classes, or regions.

    Sums run over each image, whose losses are averaged, or, without ``per_image``, over the whole batch. The background
    is a class only with ``background``. Regions that were not annotated in a sample count nowhere.
    """

    per_image: bool = True
    background: bool = False

    def __post_init__(self) -> None:
        check_for_classes_only("background", given=self.background, regions=self.regions)

    def counts(
        self, logits: torch.Tensor, target: torch.Tensor, annotated: torch.Tensor | None, *, power: float = 1.0
    ) -> SoftCounts:
        """Count the voxels of logits [B,outputs,*space] against label indices [B,*space]; ``power`` is the s of p^s.

        ``annotated`` [B,regions] tells which regions were annotated in each sample; None: all.
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
        """Return overlap, predicted, expected and all voxels of a block, [4,B,outputs]."""
        logarithms = self.log_probabilities(logits)
        masks, counted = self.masks(labels, logits.shape[1]), self.counted(labels)
        probabilities = logarithms.exp()
        # By the logarithm, so that the slope of a power below 1 is finite where a probability is 0.
        powers = probabilities if power == 1 else (logarithms * power).exp()
        voxels = torch.full_like(logits[..., 0], labels.shape[1])
        if counted is not None:
            here = counted[:, None]
            masks, powers = masks & here, powers * here
            voxels = counted.sum(1, keepdim=True).to(logits.dtype).expand_as(voxels)
        overlap = (probabilities * masks).sum(2)
        return torch.stack([overlap, powers.sum(2), masks.sum(2).to(logits.dtype), voxels])
