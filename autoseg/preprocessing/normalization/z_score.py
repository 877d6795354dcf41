"""Z-score normalization: zero mean and unit std in each case."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autoseg.images.statistics import mapped, mean_and_std, nonzero_mask
from autoseg.preprocessing.normalization import normalizations


@normalizations.register("z_score")
@dataclass(frozen=True)
class ZScore:
    """Subtract the case's own mean and divide by its standard deviation."""

    masked: bool = False
    """Compute mean and std only in the non-zero mask (holes filled); voxels outside it become 0."""

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Normalize [Z,Y,X]; a constant image becomes zeros."""
        return z_score(image, nonzero_mask(image) if self.masked else None)


def z_score(
    image: np.ndarray, mask: np.ndarray | None = None, *, clip: tuple[float, float] | None = None
) -> np.ndarray:
    """Clip, then subtract the mean and divide by the std of voxels inside ``mask``; voxels outside become 0."""
    inside = image if mask is None else image[mask]
    mean, std = mean_and_std(inside if clip is None else mapped(inside, clip=clip))
    result = mapped(image, shift=mean, scale=std, clip=clip)
    if mask is not None:
        result *= mask
    return result
