"""How many steps a fold makes: as asked, or as many as fit into its time, which is measured before and meanwhile."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from autoseg.trainers.case_tiles import case_tiles, copies_of, median_tiles, tile_voxels
from autoseg.trainers.learner import Learner
from autoseg.trainers.loader import PatchSource
from autoseg.trainers.loop import VALIDATIONS
from autoseg.trainers.pace import Pace
from autoseg.trainers.previews import BEST, WORST
from autoseg.trainers.rehearsal import Rehearsal, rehearse
from autoseg.trainers.validation import FoldValidation
from autoseg.trainers.validation_clock import ValidationClock

logger = logging.getLogger("autoseg.training")

SECONDS_PER_CASE = 0.15
"""Reading, writing and measuring one validation case, beside the network's time."""
SECONDS_PER_PREVIEW = 0.5
"""Drawing one of the worst and best cases at the end."""
SAFETY = 0.98
"""Share of the time that is planned: machines are never quite even."""
SHORTEST_SHARE = 0.5
"""Share of the budget that is trained in any case, however long validation takes."""
MIRRORED_SHARE = 0.15
"""Share of the budget that validation with mirrored copies takes at most: in a short time more steps are worth more."""
FIT_SHARE = 0.03
"""Share of the budget after which the number of steps is fitted to the clock again."""
NEWEST = 0.5
"""Weight of the latest speed in what is taken for the present one, so that a short disturbance counts little."""
SAID = 0.1
"""Share by which the number of steps must change to be logged again."""


@dataclass
class TimeBudget:
    """The seconds of a fold, how many of them validation of whole cases needs, and how fast the machine is now."""

    seconds: float
    """For the whole fold."""
    rehearsed: Rehearsal
    look: float
    """Seconds of a validation on patches: as rehearsed, later as the last one took."""
    voxels: int
    """Of the tiles of all validation cases, without mirrored copies."""
    copies: int
    """Predictions of each tile: itself and its mirrored copies."""
    cases: int
    mirror: bool = True
    """Whether validation with mirrored copies is planned. What is once planned without them stays so."""
    slowdown: float = 1.0
    """Time of a step now, relative to the rehearsal; at least 1."""
    fitted_at: float = 0.0
    """Seconds of the fold at which the number of steps was last fitted to the clock."""
    said: int = 0
    """Number of steps that was last logged."""
    warned: bool = False

    @property
    def reserve(self) -> float:
        """Seconds that validation of whole cases takes on the machine as it is now."""
        copies = self.copies if self.mirror else 1
        cases = self.rehearsed.voxel * self.voxels * copies + SECONDS_PER_CASE * self.cases
        return self.slowdown * cases + self.previews

    @property
    def previews(self) -> float:
        """Seconds that pictures of the worst and best cases take at the end."""
        return self.slowdown * SECONDS_PER_PREVIEW * min(self.cases, WORST + BEST)

    @property
    def steps_end_at(self) -> float:
        """Seconds after the start at which steps should end, so that validation fits in."""
        return max(self.seconds * SHORTEST_SHARE, (self.seconds - self.reserve) * SAFETY)

    def plan_validation(self) -> None:
        """Plan without mirrored copies where validation takes long with them; warn once where it does without."""
        reserve, most = self.reserve, self.seconds - self.seconds * SHORTEST_SHARE / SAFETY
        is_long = reserve > MIRRORED_SHARE * self.seconds * self.slowdown
        if self.mirror and self.copies > 1 and (is_long or reserve > most):
            self.mirror = False
            logger.info(
                "validation is planned without mirrored copies: with them it takes about %.0f s of %.0f s",
                reserve,
                self.seconds,
            )
        if self.reserve > self.seconds * (1 - SHORTEST_SHARE) and not self.warned:
            self.warned = True
            logger.warning("validation takes about %.0f s, which does not fit into the time budget", self.reserve)

    def inform(self, clock: ValidationClock) -> None:
        """Say how validation is planned, and what time it is expected to take before a case is predicted."""
        clock.over_at -= self.previews
        clock.mirror = self.mirror
        clock.predicting = self.slowdown * self.rehearsed.voxel
        clock.beside = self.slowdown * SECONDS_PER_CASE * self.cases / max(self.voxels, 1)

    def is_due(self, pace: Pace) -> bool:
        """Tell whether the number of steps should be fitted to the clock again."""
        return pace.is_measured and pace.tick() - self.fitted_at >= FIT_SHARE * self.seconds

    def fit(self, pace: Pace, interval: int) -> None:
        """Set the number of steps to what fits into the time that is left, or end training where none does.

        ``interval`` is the number of steps between validations on patches.
        """
        latest = pace.rate() / self.rehearsed.step
        self.slowdown = max(1.0, (1 - NEWEST) * self.slowdown + NEWEST * latest)
        self.plan_validation()
        total, looks = pace.total, self.look * max(1.0, (pace.total - pace.step) / interval)
        pace.fit(self.steps_end_at - pace.tick() - looks)
        pace.mark()
        self.fitted_at = pace.seconds
        if pace.done:
            logger.info("the time for steps is over: training ends after step %d of %d", pace.step, total)
        elif abs(pace.total - self.said) > SAID * self.said:
            self.said = pace.total
            logger.info("%d steps now fit into the time budget", pace.total)


@dataclass(frozen=True)
class Budget:
    """Length of a training."""

    iterations: int
    time: TimeBudget | None = None
    """None where the number of steps is fixed."""


def plan_budget(
    learner: Learner,
    source: PatchSource,
    validation: FoldValidation,
    *,
    seconds: float,
    patches: int,
    interval: int,
    started: float,
) -> Budget:
    """Find the number of steps that fit into the ``seconds`` of a fold, of which some are spent.

    ``patches`` are predicted every ``interval`` steps or more rarely. ``started`` is when the command began, by the
    monotonic clock.
    """
    tiles = case_tiles(validation.cases, validation.window, learner.network)
    copies, middle = copies_of(validation.window, learner.network), median_tiles(tiles)
    together = (middle[0] * copies, middle[1]) if middle else None
    rehearsed = rehearse(learner, source, together, budget=seconds)
    budget = TimeBudget(
        seconds, rehearsed, patches * rehearsed.patch, sum(map(tile_voxels, tiles)), copies, cases=len(tiles)
    )
    budget.plan_validation()
    left = budget.steps_end_at - (time.monotonic() - started)
    budget.said = affordable_steps(left, rehearsed.step, budget.look, interval=interval)
    return Budget(budget.said, budget)


def affordable_steps(seconds: float, step: float, look: float, *, interval: int) -> int:
    """Count the steps that fit into ``seconds`` together with their validations on patches, a ``look`` each.

    Short trainings are validated at a fixed interval, long ones a fixed number of times, whichever is rarer.
    """
    short = (seconds - look) / (step + look / interval)
    long = (seconds - (VALIDATIONS + 1) * look) / step
    return max(1, int(max(short, long)))
