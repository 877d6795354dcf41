"""From mean probabilities to labels: by the largest, or by what is expected to give the best Dice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from autoseg.dataset import Dataset
from autoseg.errors import WeightsError
from autoseg.inference.export import Scores, class_on_grid, label_map, label_values
from autoseg.preprocessing.crop import uncrop
from autoseg.registry import Registry

Decoder = Callable[[Sequence[Scores], Dataset], np.ndarray]
"""Takes one or more configurations' scores; returns label values [Z,Y,X] on the file's grid."""

decoders = Registry("decoders")

BINS = 4096
"""Steps of probability that are told apart in place of sorting every voxel: finer than scores are certain."""
NEGLIGIBLE = 1 / 510
"""Smaller probabilities count as 0, as they do where :mod:`autoseg.inference.stored_scores` keeps them in a byte: what
is decoded of a new image is what was tried on held-out ones."""
EARLIEST, LATEST, LOG_TIME_STEP = 1e-5, 30.0, 0.5
"""Where the integral of :func:`best_threshold` begins, for a volume of one voxel, and ends, and the steps of the
logarithm: it is then right to five digits."""
LOWEST_THRESHOLD = 0.1
"""A best threshold is half of the Dice that it is expected to reach. Where even that is below 0.2 the class is most
likely absent, and the many voxels of almost no probability would be painted all over the image."""


@decoders.register("argmax")
def argmax() -> Decoder:
    """Take the class of the largest probability, or every region above a half."""
    return label_map


@decoders.register("dice_optimal")
@dataclass(frozen=True)
class DiceOptimal:
    """Paints each class down to the probability at which its expected Dice in this image is the largest.

    For one class the best map holds the τ most probable voxels (Dai and Li, RankSEG, Journal of Machine Learning
    Research 24, 2023, theorem 2); :func:`best_threshold` finds τ. Voxels are not independent, as it takes them to be,
    so that this only proposes a map: cross-validation decides.

    Regions may overlap and are painted in their order. Classes may not: a voxel that several would take goes to that
    whose probability is the largest multiple of its own threshold.
    """

    def __call__(self, scores: Sequence[Scores], dataset: Dataset) -> np.ndarray:
        """Return label values [Z,Y,X]; one class at a time is on the grid, as in :func:`label_map`."""
        steps, values = scores[0].steps, label_values(dataset)
        labels = np.zeros(steps.cropped_shape, dtype=values.dtype)
        # A little below one, so that a score equal to its threshold is enough and of equals the first class wins.
        best = np.full(steps.cropped_shape, np.nextafter(np.float32(1), np.float32(0)))
        foreground = dataset.region_order if dataset.regions else values[1:]
        for index, value in enumerate(foreground, start=0 if dataset.regions else 1):
            score = class_on_grid(scores, index)
            if not np.isfinite(score.sum()):
                raise WeightsError(
                    f"scores of class {index}: found NaN or infinity, expected finite numbers; train again"
                )
            ratio = score / np.float32(best_threshold(score))
            taken = ratio > best
            labels[taken] = value
            if not dataset.regions:
                best[taken] = ratio[taken]
        return uncrop(steps.turn.undo(labels), steps.box, steps.geometry.size)


def best_threshold(probabilities: np.ndarray) -> float:
    """Return the probability from which on a class' voxels [Z,Y,X] are to be taken for the largest expected Dice.

    Dice of the τ most probable of independent voxels is expected to be Σ_{j≤τ} 2 p_j E[1 / (τ + 1 + Γ_j)], where Γ_j is
    the true volume without voxel j (RankSEG, theorem 2, without smoothing). Since 1/n is the integral of e^(−nt) over
    positive t, and the mean of e^(−Γt) is a product over voxels, sums over the bins give it for all τ at once. It is
    exact but for the bins, where the paper takes Γ of large volumes to be normal.
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
    """Return what is expected of the Dice of the first 1, 2, … groups of voxels, which share a ``probability``."""
    volume = count.cumsum()
    # Below the smallest time nearly all exponentials are 1, above the largest nearly all are 0; the sum over its
    # logarithm that stands for the integral is as good as exact, since all between is smooth.
    log_time = np.arange(np.log(EARLIEST / (2 * volume[-1] + 1)), np.log(LATEST), LOG_TIME_STEP)
    time = np.exp(log_time)
    # Of each group and time: the mean of e^(−t) where a voxel is in, 1 where it is not.
    left = 1 + probability[:, None] * np.expm1(-time)
    others = np.exp(count @ np.log(left))
    inside = ((count * probability)[:, None] / left).cumsum(axis=0)
    expected: np.ndarray = (inside * np.exp(-(volume[:, None] + 1) * time)) @ (2 * others * time * LOG_TIME_STEP)
    return expected
