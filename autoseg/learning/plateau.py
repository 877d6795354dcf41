"""Learning-rate schedule that reduces the rate when the validation Dice no longer improves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, runtime_checkable

from annotated_types import Gt, Lt

from autoseg.registry import NonNegative, Share


@runtime_checkable
class WatchingSchedule(Protocol):
    """A schedule that depends on validation scores. Its state is part of checkpoints, as JSON."""

    def __call__(self, progress: float) -> float:
        """Return the factor of the base learning rate."""
        ...

    def watch(self, progress: float, score: float) -> None:
        """Record the score of a validation; higher is better."""
        ...

    def state(self) -> dict[str, Any]:
        """Return the state for :meth:`restore`."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a state that :meth:`state` returned."""
        ...


@dataclass
class Plateau:
    """Multiply the rate by ``factor`` when the validation Dice has not improved for a while (DeepMedic halves it).

    The rate falls when more than the share ``patience`` of the whole training has passed since the last improvement or
    the last reduction. The schedule therefore does not depend on the number of steps. An improvement must exceed
    ``least_gain``. The score is the smoothed Dice that also selects the best weights. The factor never falls below
    ``final``.
    """

    factor: Annotated[float, Gt(0), Lt(1)] = 0.5
    patience: Share = 0.1
    least_gain: NonNegative = 1e-3
    final: Share = 1e-3

    def __post_init__(self) -> None:
        self._present, self._since, self._best = 1.0, 0.0, -1.0

    def __call__(self, progress: float) -> float:
        """Return the current factor; it does not depend on the progress."""
        return self._present

    def watch(self, progress: float, score: float) -> None:
        """Record the Dice (0 to 1) at ``progress`` (0 to 1)."""
        if score > self._best + self.least_gain:
            self._best, self._since = score, progress
        elif progress - self._since > self.patience:
            self._present, self._since = max(self.final, self._present * self.factor), progress

    def state(self) -> dict[str, Any]:
        """Return the factor, the best Dice, and the progress from which the patience counts."""
        return {"present": self._present, "since": self._since, "best": self._best}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a state that :meth:`state` returned."""
        self._present, self._since, self._best = state["present"], state["since"], state["best"]
