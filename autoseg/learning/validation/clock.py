"""Time limit for the validation of whole cases; its estimate is updated after each case."""

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
"""Share of the budget by which validation with mirrored copies may exceed it: estimates are not exact, and ``autoseg
choose`` must predict cases again that were predicted without mirrored copies."""


@dataclass
class ValidationClock:
    """Decides for each case whether to predict it, and whether to use mirrored copies; both always by default."""

    seconds: float = math.inf
    """Time budget of the fold."""
    over_at: float = math.inf
    """End of the budget on the monotonic clock."""
    mirror: bool = True
    """Whether the next cases are predicted with mirrored copies."""
    predicting: float = 0.0
    """Seconds of prediction per voxel of the tiles, mirrored copies included: at first expected, later measured."""
    beside: float = 0.0
    """Seconds of all other work, per voxel of the tiles without mirrored copies."""
    done: list[tuple[float, int, float, int]] = field(default_factory=list)
    """For each case: seconds of prediction, predicted voxels, seconds of all other work, voxels without copies."""

    def allows(self, rest: Sequence[int], copies: int) -> bool:
        """Return whether to predict the next case; disable mirrored copies for all further cases if time is short.

        ``rest`` are the voxels of the tiles of this case and of each later case, without mirrored copies. ``copies`` is
        the number of predictions of each tile. The first case is always predicted.
        """
        left = self.over_at - time.monotonic()
        if self.mirror and copies > 1 and self._seconds(rest, copies) > left + MIRRORED_GRACE * self.seconds:
            self.mirror = False
            logger.info("validating %d cases without mirrored copies, because time is short", len(rest))
        copies = copies if self.mirror else 1
        return not self.done or self._seconds(rest[:1], copies) <= left + GRACE * self.seconds

    def add(self, voxels: int, copies: int, *, predicting: float, beside: float) -> None:
        """Record the seconds of a case with ``voxels`` voxels in its tiles, without mirrored copies."""
        self.done.append((predicting, voxels * (copies if self.mirror else 1), beside, voxels))
        seconds, predicted, others, plain = (sum(column) for column in zip(*self.done, strict=True))
        self.predicting, self.beside = seconds / max(predicted, 1), others / max(plain, 1)

    def _seconds(self, cases: Sequence[int], copies: int) -> float:
        return sum(cases) * (self.predicting * copies + self.beside)
