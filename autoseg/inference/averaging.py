"""The mean of what many configurations say of a case, in the memory of one of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from autoseg.inference.export import Scores
from autoseg.preprocessing.case import Steps


@dataclass
class _Sum:
    """Of the probabilities of some configurations that share a grid."""

    steps: Steps
    total: np.ndarray
    configurations: int
    is_own: bool
    """Whether the total may be overwritten."""
    hypotheses: dict[int, np.ndarray]

    def add(self, share: Scores) -> None:
        self.total = np.add(self.total, share.probabilities, out=self.total if self.is_own else None)
        self.configurations += 1
        self.is_own = True
        self.hypotheses |= share.hypotheses

    def mean(self) -> Scores:
        if self.configurations > 1:
            self.total *= np.float32(1 / self.configurations)
        return Scores(self.total, self.steps, configurations=self.configurations, hypotheses=self.hypotheses)


def averaged(shares: Iterable[Scores], *, overwrite: bool = False) -> list[Scores]:
    """Average the scores of single configurations that lie on one grid; returns one for each grid that there is.

    They are taken one at a time: beside the sums, only the one that is being added is in memory, where the caller keeps
    no more. What is made of the result is what is made of all of them, since bringing probabilities to the file's grid
    is linear. With ``overwrite`` the first of each grid becomes the sum, which then takes no memory of its own.
    What single networks said for themselves is lost.
    """
    sums: list[_Sum] = []
    for share in shares:
        found = next((each for each in sums if each.steps == share.steps), None)
        if found:
            found.add(share)
        else:
            sums.append(_Sum(share.steps, share.probabilities, 1, overwrite, dict(share.hypotheses)))
        del share, found  # Else they would be kept while the next one is made.
    return [each.mean() for each in sums]
