"""The expected Dice of a segmentation without a reference, computed from the predicted probabilities."""

from __future__ import annotations

import numpy as np

from autoseg.evaluation.overlap import NAN

LOWEST = 0.01
"""Lowest probability that counts as expected foreground. Nearly all voxels are background with a tiny foreground
probability; without this limit, the sum of these many tiny values would be too large."""


def expected_dice(probability: np.ndarray, inside: np.ndarray) -> float:
    """Return the expected Dice of the mask ``inside``, given the foreground ``probability`` of each voxel.

    Both are [Z,Y,X]. True positives, false positives and false negatives are replaced by their expected values, as in
    Li, Kamnitsas, Islam, Chen and Glocker, Estimating model performance under domain shifts with class-specific
    confidence scores, MICCAI 2022. The Dice of the expected values approximates the expected Dice. It is NaN if the
    mask is empty: a class that is not predicted is usually absent, and its Dice is then undefined.
    """
    claimed = np.count_nonzero(inside)
    if not claimed:
        return NAN
    held = float(probability.sum(where=probability >= LOWEST, dtype=np.float64))
    return float(2 * probability.sum(where=inside, dtype=np.float64) / (claimed + held))
