"""A learning rate that falls when validation no longer improves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, runtime_checkable

from annotated_types import Gt, Lt

from autoseg.quantities import NonNegative, Share


@runtime_checkable
class WatchingSchedule(Protocol):
    """A schedule that is told of validations. What it makes of them is kept in checkpoints, as JSON."""

    def __call__(self, progress: float) -> float:
        """Return the factor of the base learning rate."""
        ...

    def watch(self, progress: float, score: float) -> None:
        """Take note of a validation's score, of which more is better."""
        ...

    def state(self) -> dict[str, Any]:
        """Return what :meth:`restore` needs."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state` returned."""
        ...


@dataclass
class Plateau:
    """Multiply the rate by ``factor`` whenever the validation Dice has not improved for long (DeepMedic: halve it).

    For long is for more than the share ``patience`` of the whole training since the last improvement or the last fall,
    so that the schedule is the same whatever the length. An improvement is one by more than ``least_gain``. What is
    looked at is the smoothed Dice that also picks the best weights. The factor does not fall below ``final``.
    """

    factor: Annotated[float, Gt(0), Lt(1)] = 0.5
    patience: Share = 0.1
    least_gain: NonNegative = 1e-3
    final: Share = 1e-3

    def __post_init__(self) -> None:
        self._present, self._since, self._best = 1.0, 0.0, -1.0

    def __call__(self, progress: float) -> float:
        """Return the present factor, whatever the progress."""
        return self._present

    def watch(self, progress: float, score: float) -> None:
        """Take note of the Dice, of 0 to 1, at ``progress``."""
        if score > self._best + self.least_gain:
            self._best, self._since = score, progress
        elif progress - self._since > self.patience:
            self._present, self._since = max(self.final, self._present * self.factor), progress

    def state(self) -> dict[str, Any]:
        """Return the factor, and the best Dice with the progress from which patience is counted."""
        return {"present": self._present, "since": self._since, "best": self._best}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state` returned."""
        self._present, self._since, self._best = state["present"], state["since"], state["best"]
