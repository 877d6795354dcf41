"""Calibration of confidences: of all predictions with 80 % confidence, 80 % should be correct."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt

BINS = 15
"""Default number of bins, as in Guo et al. (2017)."""


@dataclass(frozen=True)
class Reliability:
    """Accuracy of predictions in equally wide bins of confidence from 0 to 1 (reliability diagram).

    Guo, Pleiss, Sun and Weinberger, On Calibration of Modern Neural Networks, ICML 2017, section 2.
    """

    counts: npt.NDArray[np.int64]
    """Number of predictions in each bin [bins]."""
    confidence: npt.NDArray[np.float64]
    """Sum of confidences in each bin [bins]."""
    correct: npt.NDArray[np.float64]
    """Number of correct predictions in each bin [bins]; the sum of scores if correctness is a score, such as Dice."""

    @property
    def mean_confidence(self) -> npt.NDArray[np.float64]:
        """Mean confidence in each bin [bins]; NaN for an empty bin."""
        return _ratio(self.confidence, self.counts)

    @property
    def accuracy(self) -> npt.NDArray[np.float64]:
        """Share of correct predictions in each bin [bins]; NaN for an empty bin."""
        return _ratio(self.correct, self.counts)

    @property
    def expected_error(self) -> float:
        """Expected calibration error (Guo et al., equation 3): mean absolute difference of confidence and accuracy."""
        total = self.counts.sum()
        return float(np.abs(self.confidence - self.correct).sum() / total) if total else float("nan")

    def __add__(self, other: Reliability) -> Reliability:
        """Return the reliability of both together, such as two cases; both must have the same number of bins."""
        return Reliability(self.counts + other.counts, self.confidence + other.confidence, self.correct + other.correct)


def reliability(confidence: np.ndarray, correct: np.ndarray, *, bins: int = BINS) -> Reliability:
    """Compare confidences (0 to 1) with correctness: booleans, or scores from 0 to 1, of the same shape.

    For voxels, ``confidence`` is the largest class probability. For cases, it may be the agreement of the networks, and
    ``correct`` the measured Dice. Raises :class:`ValueError` if the sizes differ.
    """
    claimed = np.asarray(confidence, dtype=np.float64).ravel()
    right = np.asarray(correct, dtype=np.float64).ravel()
    if claimed.shape != right.shape:
        raise ValueError(
            f"found {claimed.size} confidences and {right.size} values of correctness, expected the same shape"
        )
    # A bin includes its upper edge (Guo et al.): confidence 1 is in the last bin.
    index = np.clip(np.ceil(claimed * bins).astype(np.intp) - 1, 0, bins - 1)
    return Reliability(
        np.bincount(index, minlength=bins),
        np.bincount(index, weights=claimed, minlength=bins).astype(np.float64),
        np.bincount(index, weights=right, minlength=bins).astype(np.float64),
    )


def pooled(parts: Iterable[Reliability]) -> Reliability:
    """Return the reliability of several cases together."""
    return reduce(lambda a, b: a + b, parts)


def _ratio(sums: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)
