"""Average the probabilities of many configurations, with the memory of a single configuration."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from autoseg.postprocessing.scores import Scores
from autoseg.preprocessing.record import PreprocessingRecord


@dataclass
class _Sum:
    """Running sum of the probabilities of configurations that share one grid."""

    preprocessing: PreprocessingRecord
    total: np.ndarray
    configurations: int
    is_own: bool
    """Whether ``total`` may be overwritten."""
    hypotheses: dict[int, np.ndarray]

    def add(self, share: Scores) -> None:
        self.total = np.add(self.total, share.probabilities, out=self.total if self.is_own else None)
        self.configurations += 1
        self.is_own = True
        self.hypotheses |= share.hypotheses

    def mean(self) -> Scores:
        if self.configurations > 1:
            self.total *= np.float32(1 / self.configurations)
        return Scores(self.total, self.preprocessing, configurations=self.configurations, hypotheses=self.hypotheses)


def averaged(shares: Iterable[Scores], *, overwrite: bool = False) -> list[Scores]:
    """Average the scores of single configurations that share a grid; return one mean for each grid.

    ``shares`` is consumed one item at a time. Memory contains only the sums and the item being added, if the caller
    keeps no references. The mean on the configuration's grid equals the mean on the file's grid, because resampling of
    probabilities is linear. With ``overwrite``, the first scores of each grid are overwritten by the sum, which saves
    one array. The predictions of single networks (``member_predictions``) are dropped.
    """
    sums: list[_Sum] = []
    for share in shares:
        found = next((each for each in sums if each.preprocessing == share.preprocessing), None)
        if found:
            found.add(share)
        else:
            sums.append(_Sum(share.preprocessing, share.probabilities, 1, overwrite, dict(share.hypotheses)))
        del share, found  # Free these arrays before the next scores are computed.
    return [each.mean() for each in sums]
