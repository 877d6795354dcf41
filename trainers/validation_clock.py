"""How much of the validation of whole cases fits into the time of a fold, seen anew after each case."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

logger = logging.getLogger("autoseg.training")

GRACE = 0.1
"""Share of the budget by which the last case may exceed it."""
MIRRORED_GRACE = 0.05
"""Share by which validation with mirrored copies may: no estimate is exact, and ``autoseg choose`` predicts again with
mirrored copies what was predicted without them."""


@dataclass
class ValidationClock:
    """Decides case by case whether it is predicted, and whether with mirrored copies; by default always."""

    seconds: float = math.inf
    """Time budget of the fold."""
    over_at: float = math.inf
    """When it is over, by the monotonic clock."""
    mirror: bool = True
    """Whether cases are predicted with mirrored copies from now on."""
    predicting: float = 0.0
    """Seconds for each voxel of the tiles that are predicted, mirrored copies included: expected, later measured."""
    beside: float = 0.0
    """Seconds of everything else, for each voxel of the tiles without copies."""
    done: list[tuple[float, int, float, int]] = field(default_factory=list)
    """Of each case: seconds of predicting, voxels predicted, seconds of everything else, voxels without copies."""

    def allows(self, rest: Sequence[int], copies: int) -> bool:
        """Tell whether the next case may be predicted; leave out mirrored copies from now on where time is short.

        ``rest`` are the voxels of the tiles of this case and those after it, without the mirrored ones of the
        ``copies``. The first case is always predicted.
        """
        left = self.over_at - time.monotonic()
        if self.mirror and copies > 1 and self._seconds(rest, copies) > left + MIRRORED_GRACE * self.seconds:
            self.mirror = False
            logger.info("validating %d cases without mirrored copies, because time is short", len(rest))
        copies = copies if self.mirror else 1
        return not self.done or self._seconds(rest[:1], copies) <= left + GRACE * self.seconds

    def add(self, voxels: int, copies: int, *, predicting: float, beside: float) -> None:
        """Take note of the seconds that a case took, which had ``voxels`` without mirrored copies."""
        self.done.append((predicting, voxels * (copies if self.mirror else 1), beside, voxels))
        seconds, predicted, others, plain = (sum(column) for column in zip(*self.done, strict=True))
        self.predicting, self.beside = seconds / max(predicted, 1), others / max(plain, 1)

    def _seconds(self, cases: Sequence[int], copies: int) -> float:
        return sum(cases) * (self.predicting * copies + self.beside)
