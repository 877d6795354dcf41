"""Whether a confidence can be believed: how often is right what is said with 80 % confidence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt

BINS = 15
"""As in Guo et al. (2017)."""


@dataclass(frozen=True)
class Reliability:
    """How often what was said was right, for each of some equally wide ranges of confidence from 0 to 1.

    Guo, Pleiss, Sun and Weinberger, On Calibration of Modern Neural Networks, ICML 2017, section 2.
    """

    counts: npt.NDArray[np.int64]
    """Of what was said, in each range [bins]."""
    confidence: npt.NDArray[np.float64]
    """Sum of what was claimed, in each range [bins]."""
    correct: npt.NDArray[np.float64]
    """Of what was right, in each range [bins]; sums where rightness is a share, such as Dice."""

    @property
    def mean_confidence(self) -> npt.NDArray[np.float64]:
        """In each range [bins]; NaN where it is empty."""
        return _ratio(self.confidence, self.counts)

    @property
    def accuracy(self) -> npt.NDArray[np.float64]:
        """In each range [bins]; NaN where it is empty."""
        return _ratio(self.correct, self.counts)

    @property
    def expected_error(self) -> float:
        """Expected calibration error (Guo et al., equation 3): mean distance of confidence and accuracy."""
        total = self.counts.sum()
        return float(np.abs(self.confidence - self.correct).sum() / total) if total else float("nan")

    def __add__(self, other: Reliability) -> Reliability:
        """Return that of both, as of several cases; the numbers of ranges must be the same."""
        return Reliability(self.counts + other.counts, self.confidence + other.confidence, self.correct + other.correct)


def reliability(confidence: np.ndarray, correct: np.ndarray, *, bins: int = BINS) -> Reliability:
    """Compare confidences from 0 to 1 with what was right, true or false or a share from 0 to 1, of the same shape.

    For voxels ``confidence`` is the largest probability; for cases it may be the agreement of the networks, and
    ``correct`` the Dice that was reached.
    """
    claimed = np.asarray(confidence, dtype=np.float64).ravel()
    right = np.asarray(correct, dtype=np.float64).ravel()
    if claimed.shape != right.shape:
        raise ValueError(f"found {claimed.size} confidences and {right.size} outcomes")
    # A range includes its upper end (Guo et al.): certainty is in the last one.
    index = np.clip(np.ceil(claimed * bins).astype(np.intp) - 1, 0, bins - 1)
    return Reliability(
        np.bincount(index, minlength=bins),
        np.bincount(index, weights=claimed, minlength=bins).astype(np.float64),
        np.bincount(index, weights=right, minlength=bins).astype(np.float64),
    )


def pooled(parts: Iterable[Reliability]) -> Reliability:
    """Return that of several cases together."""
    return reduce(lambda a, b: a + b, parts)


def _ratio(sums: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)
