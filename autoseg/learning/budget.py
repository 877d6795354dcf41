"""Number of training steps of a fold: fixed, or as many as fit into a time budget.

With a time budget, the speed is measured before training and again during it.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from autoseg.learning.learner import Learner
from autoseg.learning.patches import Sources
from autoseg.learning.progress import VALIDATIONS, TrainingProgress
from autoseg.learning.rehearsal import Rehearsal, rehearse
from autoseg.learning.trainer import Grows
from autoseg.learning.validation.cases import FoldValidation
from autoseg.learning.validation.clock import ValidationClock
from autoseg.learning.validation.previews import BEST, WORST
from autoseg.learning.validation.tiles import case_tiles, copies_of, median_tiles, tile_voxels

logger = logging.getLogger("autoseg.training")

SECONDS_PER_CASE = 0.15
"""Seconds to read, write and measure one validation case, without the prediction."""
SECONDS_PER_PREVIEW = 0.5
"""Seconds to draw one preview of the worst and best cases at the end."""
SAFETY = 0.98
"""Share of the time that is planned; the rest absorbs variations of the machine's speed."""
SHORTEST_SHARE = 0.5
"""Smallest share of the budget for training, however long validation takes."""
MIRRORED_SHARE = 0.15
"""Largest share of the budget for validation with mirrored copies: in a short budget, more steps help more."""
FIT_SHARE = 0.03
"""Share of the budget after which the number of steps is computed again from the measured speed."""
NEWEST = 0.5
"""Weight of the latest measurement in the estimate of the speed; a short disturbance then has little effect."""
SAID = 0.1
"""Relative change of the number of steps from which it is logged again."""


@dataclass
class TimeBudget:
    """Time budget of a fold: total seconds, seconds for the validation of whole cases, current speed of the machine."""

    seconds: float
    """For the whole fold."""
    rehearsed: Rehearsal
    look: float
    """Seconds of a validation on patches: at first from the rehearsal, later the time of the last one."""
    voxels: int
    """Voxels in the tiles of all validation cases, without mirrored copies."""
    copies: int
    """Predictions of each tile: itself and its mirrored copies."""
    cases: int
    mirror: bool = True
    """Whether validation with mirrored copies is planned; once False, it stays False."""
    slowdown: float = 1.0
    """Current time of a step, relative to the rehearsal; at least 1."""
    fitted_at: float = 0.0
    """Time of the last computation of the number of steps, in seconds since the start of the fold."""
    said: int = 0
    """Number of steps that was last logged."""
    warned: bool = False

    @property
    def reserve(self) -> float:
        """Expected seconds for the validation of whole cases at the current speed of the machine."""
        copies = self.copies if self.mirror else 1
        cases = self.rehearsed.voxel * self.voxels * copies + SECONDS_PER_CASE * self.cases
        return self.slowdown * cases + self.previews

    @property
    def previews(self) -> float:
        """Expected seconds for the previews of the worst and best cases at the end."""
        return self.slowdown * SECONDS_PER_PREVIEW * min(self.cases, WORST + BEST)

    @property
    def steps_end_at(self) -> float:
        """Seconds after the start at which training must end so that validation fits into the budget."""
        return max(self.seconds * SHORTEST_SHARE, (self.seconds - self.reserve) * SAFETY)

    def plan_validation(self) -> None:
        """Disable mirrored copies if validation takes too long with them; warn once if it takes too long without."""
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
        """Set in ``clock`` whether copies are mirrored and how long validation is expected to take."""
        clock.over_at -= self.previews
        clock.mirror = self.mirror
        clock.predicting = self.slowdown * self.rehearsed.voxel
        clock.beside = self.slowdown * SECONDS_PER_CASE * self.cases / max(self.voxels, 1)

    def is_due(self, progress: TrainingProgress) -> bool:
        """Return whether it is time to compute the number of steps again."""
        return progress.is_measured and progress.tick() - self.fitted_at >= FIT_SHARE * self.seconds

    def fit(self, progress: TrainingProgress, interval: int) -> None:
        """Set the number of steps to what fits into the remaining time; end training if no step fits.

        ``interval`` is the number of steps between validations on patches.
        """
        latest = progress.rate() / self.rehearsed.step
        self.slowdown = max(1.0, (1 - NEWEST) * self.slowdown + NEWEST * latest)
        self.plan_validation()
        total, looks = progress.total, self.look * max(1.0, (progress.total - progress.step) / interval)
        progress.fit(self.steps_end_at - progress.tick() - looks)
        progress.mark()
        self.fitted_at = progress.seconds
        if progress.done:
            logger.info("the training time is over: training ends after step %d of %d", progress.step, total)
        elif abs(progress.total - self.said) > SAID * self.said:
            self.said = progress.total
            logger.info("%d steps now fit into the time budget", progress.total)


@dataclass(frozen=True)
class Budget:
    """Length of a training in steps, with the time budget that it comes from."""

    iterations: int
    time: TimeBudget | None = None
    """None where the number of steps is fixed."""


def plan_budget(
    learner: Learner,
    sources: Sources,
    validation: FoldValidation,
    *,
    seconds: float,
    patches: int,
    interval: int,
    started: float,
) -> Budget:
    """Find the number of steps that fit into the ``seconds`` of a fold, less the seconds spent since ``started``.

    Training validates on ``patches`` patches every ``interval`` steps or less often. ``started`` is the start of the
    command on the monotonic clock.
    """
    tiles = case_tiles(validation.cases, validation.tiling, learner.network)
    copies, middle = copies_of(validation.tiling, learner.network), median_tiles(tiles)
    together = (middle[0] * copies, middle[1]) if middle else None
    rehearsed = rehearse(learner, sources, together, budget=seconds)
    budget = TimeBudget(
        seconds, rehearsed, patches * rehearsed.patch, sum(map(tile_voxels, tiles)), copies, cases=len(tiles)
    )
    budget.plan_validation()
    left = budget.steps_end_at - (time.monotonic() - started)
    budget.said = affordable_steps(left, rehearsed.step, budget.look, interval=interval)
    if isinstance(learner.method, Grows):
        budget.said = min(budget.said, learner.method.most_steps)
    return Budget(budget.said, budget)


def affordable_steps(seconds: float, step: float, look: float, *, interval: int) -> int:
    """Count the steps that fit into ``seconds``, including the validations on patches of ``look`` seconds each.

    ``step`` is the time of a step in seconds. Short trainings validate every ``interval`` steps, long ones a fixed
    number of times, whichever is less often.
    """
    short = (seconds - look) / (step + look / interval)
    long = (seconds - (VALIDATIONS + 1) * look) / step
    return max(1, int(max(short, long)))
