"""How far training is, and how many steps it has: fixed, or what fits into a time budget."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

CHANGE = 0.03
"""Share by which a new estimate of the number of steps must differ before it replaces the old one."""


@dataclass
class Pace:
    """Steps done and to do, and progress from 0 to 1.

    With a time budget the number of steps is estimated from the measured speed and corrected as that changes; progress
    then moves by what is left, divided by the steps that are left, so that it is smooth and ends at 1 in time.
    """

    total: int
    step: int = 0
    progress: float = 0.0
    seconds: float = 0.0
    """Spent on this fold by all runs of the command so far."""

    def __post_init__(self) -> None:
        self._clock = time.monotonic()
        self._marked = (self.step, self.seconds)
        self._rate = 0.0

    @property
    def done(self) -> bool:
        """Whether every step is made."""
        return self.step >= self.total

    def advance(self) -> None:
        """Count one step."""
        self.progress += (1.0 - self.progress) / max(self.total - self.step, 1)
        self.step += 1

    def tick(self) -> float:
        """Add the time since the last tick; return all seconds spent."""
        now = time.monotonic()
        self.seconds += now - self._clock
        self._clock = now
        return self.seconds

    @property
    def is_measured(self) -> bool:
        """Whether a step was made since the last :meth:`mark`."""
        return self.step > self._marked[0]

    def rate(self) -> float:
        """Seconds for each step since the last :meth:`mark`, or before it while no step was made since."""
        steps = self.step - self._marked[0]
        if steps:
            self._rate = (self.tick() - self._marked[1]) / steps
        return self._rate

    def mark(self) -> None:
        """End a measurement of the rate, and begin a new one, which leaves out what was done since the last step."""
        self.rate()
        self._marked = (self.step, self.tick())

    def fit(self, seconds_left: float) -> bool:
        """Set the number of steps to what fits into ``seconds_left`` at the measured rate; tell whether it changed.

        Where no step fits, none is left to do.
        """
        left = max(int(seconds_left / max(self.rate(), 1e-9)), 0)
        if abs(self.step + left - self.total) <= CHANGE * max(self.total - self.step, 1):
            return False
        self.total = self.step + left
        return True

    def to_plain(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        self.tick()
        return asdict(self)
