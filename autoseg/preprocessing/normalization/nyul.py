"""Standard intensities for images without units: histograms are matched at landmarks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from autoseg.plan import Component
from autoseg.preprocessing.normalization import normalizations
from autoseg.preprocessing.normalization.arguments import check_percentages, refuse
from autoseg.preprocessing.normalization.bias_field import BiasFieldZScore
from autoseg.preprocessing.normalization.statistics import nonzero_mask, percentiles, pieces
from autoseg.preprocessing.normalization.z_score import z_score

PERCENTAGES = (1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 99)
"""Deciles, and ends that single voxels do not move (Nyúl et al. 2000)."""
STANDARD_SCALE = (0.0, 100.0)
"""Where the first and the last landmark lie on the standard scale."""
MEASURED_VOXELS = 100_000
"""Voxels of a case that landmarks are fitted to: their ranks are exact to 0.2 %, and are averaged over the cases."""

FARTHEST = 1e30
"""Where straight lines end: outliers would else leave the range of float32."""


@normalizations.register("nyul_z_score")
@dataclass(frozen=True)
class NyulZScore:
    """Map each case's percentiles to the dataset's landmarks, linearly between them (Nyúl et al. 2000); then z-score.

    Beyond the outermost percentiles the first and the last segment go on as straight lines.
    """

    landmarks: Sequence[float]
    """Standard intensities, ascending; fitted by :func:`fit_landmarks`."""
    fitted: ClassVar[Component] = {"landmarks": [float(share) for share in PERCENTAGES]}
    percentages: Sequence[float] = PERCENTAGES
    """Percentiles of a case's foreground that the landmarks belong to."""
    masked: bool = False
    """Percentiles are those of non-zero voxels, mean and deviation those of the non-zero mask, outside which voxels
    become 0. Otherwise percentiles are those of voxels brighter than the mean, the rest of the whole image."""
    bias_field: Mapping[str, Any] | None = None
    """Arguments of ``bias_field_z_score``, whose correction comes first; None leaves the field as it is."""

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


def foreground(image: np.ndarray, *, masked: bool) -> np.ndarray:
    """Return the voxels that a histogram is matched on: the non-zero ones, or those above the mean (Nyúl et al.)."""
    return image[image != 0] if masked else image[image > image.mean(dtype=np.float64)]


def landmark_percentiles(image: np.ndarray, *, masked: bool) -> tuple[float, ...]:
    """Measure the percentiles that landmarks are fitted to; none where there is no foreground."""
    values = foreground(image, masked=masked)
    return tuple(percentiles(values, PERCENTAGES)) if values.size else ()


def fit_landmarks(cases: Sequence[Sequence[float]]) -> list[float]:
    """Average the percentiles of all cases, each mapped so that its first and last reach the ends of the scale."""
    low, high = STANDARD_SCALE
    known = np.array([case for case in cases if len(case) and case[-1] > case[0]], dtype=np.float64)
    if not len(known):
        return [low + (high - low) * share / 100 for share in PERCENTAGES]
    first, last = known[:, :1], known[:, -1:]
    return [float(n) for n in (low + (known - first) / (last - first) * (high - low)).mean(axis=0)]


def piecewise_linear(image: np.ndarray, own: Sequence[float], standard: Sequence[float]) -> np.ndarray:
    """Map intensities ``own`` to ``standard``, straight between them and beyond them; returns float32.

    Where several of ``own`` are the same, they go to the mean of theirs. Where all are, the image becomes 0.
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
