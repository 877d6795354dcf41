"""Decoders from mean probabilities to labels: by the largest probability, or by the largest expected Dice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from autoseg.data.dataset import Dataset
from autoseg.errors import WeightsError
from autoseg.images.crop import uncrop
from autoseg.postprocessing import PredictedCase, postprocessing
from autoseg.postprocessing.label_maps import class_on_grid, label_map, label_values
from autoseg.registry import Component

BINS = 4096
"""Number of histogram bins for probabilities; a histogram replaces sorting all voxels. The bins are finer than the
accuracy of the scores."""
NEGLIGIBLE = 1 / 510
"""Smaller probabilities count as 0. :mod:`autoseg.inference.stored_scores` rounds them to 0 too, so that new images are
decoded like the held-out cases."""
EARLIEST, LATEST, LOG_TIME_STEP = 1e-5, 30.0, 0.5
"""Start (for a volume of one voxel) and end of the integral of :func:`best_threshold`, and the step of the logarithm.
The integral is then accurate to five digits."""
LOWEST_THRESHOLD = 0.1
"""Lowest threshold. The best threshold is half of the expected Dice. If the expected Dice is below 0.2, the class is
probably absent, and a lower threshold would label many voxels of very small probability."""


@postprocessing.register("argmax")
@dataclass(frozen=True)
class Argmax:
    """Assigns each voxel to the class of the largest probability, or to every region above probability 0.5."""

    decodes: ClassVar[bool] = True
    dataset: Dataset

    def __call__(self, case: PredictedCase, labels: np.ndarray) -> np.ndarray:
        """Return label values [Z,Y,X] on the file's grid."""
        return label_map(case.scores, self.dataset)


@postprocessing.register("dice_optimal")
@dataclass(frozen=True)
class DiceOptimal:
    """Labels each class above the probability threshold with the largest expected Dice in this image.

    For one class, the best map contains the τ most probable voxels (Dai and Li, RankSEG, Journal of Machine Learning
    Research 24, 2023, theorem 2); :func:`best_threshold` finds τ. The theorem assumes independent voxels, which real
    voxels are not. Cross-validation therefore decides whether to use this decoder.

    Regions may overlap; they are painted in their order. Classes do not overlap: a voxel above several thresholds gets
    the class with the largest ratio of probability to threshold.
    """

    decodes: ClassVar[bool] = True
    dataset: Dataset

    @staticmethod
    def candidates(dataset: Dataset) -> list[Component]:
        """Return the only specification of this decoder."""
        return [{"name": "dice_optimal"}]

    def __call__(self, case: PredictedCase, labels: np.ndarray) -> np.ndarray:
        """Return label values [Z,Y,X]; classes are resampled one at a time, as in :func:`label_map`."""
        scores, dataset = case.scores, self.dataset
        preprocessing, values = scores[0].preprocessing, label_values(dataset)
        decoded = np.zeros(preprocessing.cropped_shape, dtype=values.dtype)
        # Slightly below 1, so that a score equal to its threshold suffices and the first of equal classes is selected.
        best = np.full(preprocessing.cropped_shape, np.nextafter(np.float32(1), np.float32(0)))
        foreground = dataset.region_order if dataset.regions else values[1:]
        for index, value in enumerate(foreground, start=0 if dataset.regions else 1):
            score = class_on_grid(scores, index)
            if not np.isfinite(score.sum()):
                raise WeightsError(
                    f"scores of class {index}: found NaN or infinity, expected finite numbers; train again"
                )
            ratio = score / np.float32(best_threshold(score))
            taken = ratio > best
            decoded[taken] = value
            if not dataset.regions:
                best[taken] = ratio[taken]
        return uncrop(preprocessing.reorientation.undo(decoded), preprocessing.box, preprocessing.geometry.size)


def best_threshold(probabilities: np.ndarray) -> float:
    """Return the threshold for a class' ``probabilities`` [Z,Y,X] with the largest expected Dice.

    The expected Dice of the τ most probable voxels is Σ_{j≤τ} 2 p_j E[1 / (τ + 1 + Γ_j)] for independent voxels, where
    Γ_j is the true volume without voxel j (RankSEG, theorem 2, without smoothing). 1/n is the integral of e^(−nt) over
    positive t, and the mean of e^(−Γt) is a product over voxels. Sums over the bins therefore give the expected Dice
    for all τ at once. The only approximation is the bins; the paper instead approximates Γ of large volumes by a normal
    distribution.
    """
    counts, sums = np.zeros((2, BINS))
    for plane in probabilities:
        flat = np.clip(plane.ravel(), 0, 1)
        flat = flat[flat >= NEGLIGIBLE]
        bins = np.minimum((flat * BINS).astype(np.intp), BINS - 1)
        counts += np.bincount(bins, minlength=BINS)
        sums += np.bincount(bins, weights=flat, minlength=BINS)
    held = np.flatnonzero(counts)[::-1]
    if not held.size:
        return 1.0
    expected = _expected_dice(sums[held] / counts[held], counts[held])
    return max(float(held[expected.argmax()]) / BINS, LOWEST_THRESHOLD)


def _expected_dice(probability: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return the expected Dice of the first 1, 2, … groups of voxels.

    Group i has ``count[i]`` voxels, all of ``probability[i]``.
    """
    volume = count.cumsum()
    # Nearly all exponentials are 1 below the smallest time and 0 above the largest. The integrand between is smooth, so
    # a sum over the logarithm of the time is a very accurate approximation of the integral.
    log_time = np.arange(np.log(EARLIEST / (2 * volume[-1] + 1)), np.log(LATEST), LOG_TIME_STEP)
    time = np.exp(log_time)
    # Mean of one voxel's factor for each group and time: e^(−t) if the voxel belongs to the class, otherwise 1.
    left = 1 + probability[:, None] * np.expm1(-time)
    others = np.exp(count @ np.log(left))
    inside = ((count * probability)[:, None] / left).cumsum(axis=0)
    expected: np.ndarray = (inside * np.exp(-(volume[:, None] + 1) * time)) @ (2 * others * time * LOG_TIME_STEP)
    return expected
