"""Progress of a training, and its number of steps: fixed, or as many as fit into a time budget."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

VALIDATIONS = 25
"""Number of validations on patches in a whole training."""
CHANGE = 0.03
"""Smallest relative difference from which a new estimate of the number of steps replaces the old one."""


@dataclass
class TrainingProgress:
    """Steps done, total steps, and the fraction that is done, from 0 to 1.

    With a time budget, the total is estimated from the measured speed and corrected when the speed changes. Each step
    increases the fraction by the remaining fraction divided by the remaining steps, so that it grows smoothly to 1.
    """

    total: int
    step: int = 0
    fraction: float = 0.0
    seconds: float = 0.0
    """Seconds spent on this fold by all runs of the command so far."""
    most: int | None = None
    """Largest total; None: no limit."""

    def __post_init__(self) -> None:
        self._clock = time.monotonic()
        self._marked = (self.step, self.seconds)
        self._rate = 0.0

    @property
    def done(self) -> bool:
        """Whether all steps are done."""
        return self.step >= self.total

    def advance(self) -> None:
        """Count one step."""
        self.fraction += (1.0 - self.fraction) / max(self.total - self.step, 1)
        self.step += 1

    def tick(self) -> float:
        """Add the time since the last tick; return all seconds spent."""
        now = time.monotonic()
        self.seconds += now - self._clock
        self._clock = now
        return self.seconds

    @property
    def is_measured(self) -> bool:
        """Whether at least one step is done since the last :meth:`mark`."""
        return self.step > self._marked[0]

    def rate(self) -> float:
        """Return seconds per step since the last :meth:`mark`; the previous value if no step is done since then."""
        steps = self.step - self._marked[0]
        if steps:
            self._rate = (self.tick() - self._marked[1]) / steps
        return self._rate

    def mark(self) -> None:
        """End a measurement of the rate and start a new one; the time from the last step to this call is left out."""
        self.rate()
        self._marked = (self.step, self.tick())

    def fit(self, seconds_left: float) -> bool:
        """Set the number of steps to what fits into ``seconds_left`` at the measured rate; return whether it changed.

        If no step fits, training is done.
        """
        left = max(int(seconds_left / max(self.rate(), 1e-9)), 0)
        if self.most is not None:
            left = min(left, max(self.most - self.step, 0))
        if abs(self.step + left - self.total) <= CHANGE * max(self.total - self.step, 1):
            return False
        self.total = self.step + left
        return True

    def to_plain(self) -> dict[str, Any]:
        """Return the fields for a checkpoint."""
        self.tick()
        return asdict(self)
