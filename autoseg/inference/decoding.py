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
    Research 24, 2023, theorem 2), τ maximising Σ_{j≤τ} p_j · E[2 / (τ + Γ)], where Γ is the class' true volume, a sum
    of independent voxels. Its mean and variance give the expectation to second order in place of the paper's normal
    approximation. Voxels are not independent, so that this only proposes a map: cross-validation decides.

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
    """Return the probability from which on a class' voxels [Z,Y,X] are to be taken for the largest expected Dice."""
    counts, sums, squares = np.zeros((3, BINS))
    for plane in probabilities:
        flat = np.clip(plane.ravel(), 0, 1)
        flat = flat[flat >= NEGLIGIBLE]
        bins = np.minimum((flat * BINS).astype(np.intp), BINS - 1)
        counts += np.bincount(bins, minlength=BINS)
        sums += np.bincount(bins, weights=flat, minlength=BINS)
        squares += np.bincount(bins, weights=flat * flat, minlength=BINS)
    mean, variance = sums.sum(), sums.sum() - squares.sum()
    volume = counts[::-1].cumsum()
    # Of (volume + Γ): its reciprocal's mean, to second order in Γ's deviation.
    whole = np.maximum(volume + mean, np.finfo(np.float64).tiny)
    expected = 2 * sums[::-1].cumsum() * (1 / whole + variance / whole**3)
    lowest = BINS - 1 - int(expected.argmax())
    return max(lowest / BINS, LOWEST_THRESHOLD)
