"""The Dice that a segmentation may expect where there is no reference, from the probabilities that it was made of."""

from __future__ import annotations

import numpy as np

from autoseg.evaluation.overlap import NAN

LOWEST = 0.01
"""Probability of a class from which a voxel counts: of nearly all voxels a network is sure, and rightly, that they hold
nothing, but they are so many that the rest of a doubt adds up."""


def expected_dice(probability: np.ndarray, inside: np.ndarray) -> float:
    """Return the Dice that the mask ``inside`` has with a reference that holds voxels with a ``probability``.

    Both are [Z,Y,X]. True positives, false positives and false negatives are replaced by what is expected of them, as
    by Li, Kamnitsas, Islam, Chen and Glocker, Estimating model performance under domain shifts with class-specific
    confidence scores, MICCAI 2022; Dice of these is about what is expected of Dice. NaN where the mask is empty: most
    classes that are not found are not there, and have no Dice.
    """
    claimed = np.count_nonzero(inside)
    if not claimed:
        return NAN
    held = float(probability.sum(where=probability >= LOWEST, dtype=np.float64))
    return float(2 * probability.sum(where=inside, dtype=np.float64) / (claimed + held))
