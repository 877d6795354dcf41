"""Clip outliers, then scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from autoseg.images.statistics import mapped, nonzero_mask, percentiles
from autoseg.preprocessing.normalization import normalizations
from autoseg.preprocessing.normalization.arguments import check_percentages, check_range, refuse
from autoseg.preprocessing.normalization.z_score import z_score


@normalizations.register("percentile")
@dataclass(frozen=True)
class Percentile:
    """Clip to percentiles of the case, or to given intensities, then scale the clipped intensities.

    Kamnitsas et al. 2017 (unsupervised domain adaptation) clip the lowest and highest 2 % inside the brain before a
    z-score: ``percentages`` (2, 98), ``masked``.
    """

    percentages: Sequence[float] = (0.5, 99.5)
    """Lower and upper percentile of the case's voxels, used as limits of the clipping."""
    clip: Sequence[float] | None = None
    """Lower and upper intensity to clip to, instead of percentiles."""
    scale: Literal["z_score", "unit"] = "z_score"
    """``z_score``: use mean and std of the clipped voxels. ``unit``: the clipped range becomes 0…1."""
    masked: bool = False
    """Compute percentiles, mean and std in the non-zero mask (holes filled); voxels outside it become 0."""

    def __post_init__(self) -> None:
        check_percentages("percentile", "percentages", self.percentages)
        if len(self.percentages) != 2:
            refuse("percentile", "percentages", self.percentages, "two numbers")
        if self.clip is not None:
            check_range("percentile", "clip", self.clip)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Normalize [Z,Y,X]; a constant image becomes zeros."""
        mask = nonzero_mask(image) if self.masked else None
        inside = image if mask is None else image[mask]
        if not inside.size:
            return np.zeros_like(image)
        low, high = self.clip or percentiles(inside, self.percentages)
        if self.scale == "z_score":
            return z_score(image, mask, clip=(low, high))
        result = mapped(image, shift=low, scale=(high - low) or 1.0, clip=(low, high))
        if mask is not None:
            result *= mask
        return result
