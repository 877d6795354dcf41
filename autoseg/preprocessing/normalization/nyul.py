"""Nyúl normalization for images without units: histograms are matched at landmarks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from autoseg.fingerprint.landmarks import PERCENTAGES, foreground
from autoseg.images.statistics import nonzero_mask, percentiles, pieces
from autoseg.preprocessing.normalization import normalizations
from autoseg.preprocessing.normalization.arguments import check_percentages, refuse
from autoseg.preprocessing.normalization.bias_field import BiasFieldZScore
from autoseg.preprocessing.normalization.z_score import z_score
from autoseg.registry import Component

STANDARD_SCALE = (0.0, 100.0)
"""Positions of the first and the last landmark on the standard scale."""

FARTHEST = 1e30
"""Limit of extrapolated intensities; keeps outliers within the range of float32."""


@normalizations.register("nyul_z_score")
@dataclass(frozen=True)
class NyulZScore:
    """Map each case's percentiles to the dataset's landmarks, linearly between them (Nyúl et al. 2000); then z-score.

    Outside the outermost percentiles, the first and the last segment are extrapolated linearly.
    """

    landmarks: Sequence[float]
    """Standard intensities in ascending order; fitted by :func:`fit_landmarks`."""
    fitted: ClassVar[Component] = {"landmarks": [float(share) for share in PERCENTAGES]}
    percentages: Sequence[float] = PERCENTAGES
    """Percentiles of a case's foreground, one per landmark."""
    masked: bool = False
    """True: percentiles of non-zero voxels, mean and std of the non-zero mask; voxels outside the mask become 0. False:
    percentiles of voxels brighter than the mean, mean and std of the whole image."""
    bias_field: Mapping[str, Any] | None = None
    """Arguments of ``bias_field_z_score``, whose bias field correction is applied first; None: no correction."""

    def __post_init__(self) -> None:
        check_percentages("nyul_z_score", "percentages", self.percentages)
        expected = f"{len(self.percentages)} ascending numbers, one for each of 'percentages'"
        ascend = all(low <= high for low, high in pairwise(self.landmarks))
        if len(self.landmarks) != len(self.percentages) or not ascend or not all(map(math.isfinite, self.landmarks)):
            refuse("nyul_z_score", "landmarks", self.landmarks, expected)
        self._correction()

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Normalize [Z,Y,X]; a constant image becomes zeros."""
        correction = self._correction()
        mask = nonzero_mask(image) if self.masked else None
        return z_score(self.standardized(correction.corrected(image) if correction else image), mask)

    def standardized(self, image: np.ndarray) -> np.ndarray:
        """Return [Z,Y,X] on the standard scale."""
        values = foreground(image, masked=self.masked)
        own = percentiles(values, self.percentages) if values.size else []
        return piecewise_linear(image, own, self.landmarks[: len(own)])

    def _correction(self) -> BiasFieldZScore | None:
        if self.bias_field is None:
            return None
        found: BiasFieldZScore = normalizations.build(
            {"masked": self.masked, **self.bias_field, "name": "bias_field_z_score"}
        )
        return found


def fit_landmarks(cases: Sequence[Sequence[float]]) -> list[float]:
    """Average the percentiles of all cases, each first mapped linearly to the ends of the standard scale."""
    low, high = STANDARD_SCALE
    known = np.array([case for case in cases if len(case) and case[-1] > case[0]], dtype=np.float64)
    if not len(known):
        return [low + (high - low) * share / 100 for share in PERCENTAGES]
    first, last = known[:, :1], known[:, -1:]
    return [float(n) for n in (low + (known - first) / (last - first) * (high - low)).mean(axis=0)]


def piecewise_linear(image: np.ndarray, own: Sequence[float], standard: Sequence[float]) -> np.ndarray:
    """Map intensities ``own`` to ``standard``, linear between and outside them; returns float32.

    Equal values in ``own`` map to the mean of their standard intensities. If all are equal, the image becomes 0.
    """
    result = np.zeros(image.shape, dtype=np.float32)
    knots, place = np.unique(own, return_inverse=True)
    if len(knots) < 2:
        return result
    targets = np.bincount(place, weights=standard) / np.bincount(place)
    slopes = np.diff(targets) / np.diff(knots)
    values, out = image.reshape(-1), result.reshape(-1)
    for piece in pieces(values.size):
        exact = values[piece].astype(np.float64)
        below, above = np.minimum(exact - knots[0], 0), np.maximum(exact - knots[-1], 0)
        exact = np.interp(exact, knots, targets) + slopes[0] * below + slopes[-1] * above
        out[piece] = np.clip(exact, -FARTHEST, FARTHEST)
    return result
