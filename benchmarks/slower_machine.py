"""Count the steps that a slower machine makes in a time: a few are timed as if the processor had AVX2 alone.

    python benchmarks/slower_machine.py WORKSPACE CONFIGURATION FOLD

It wants the variables of :data:`MACHINES` in its environment, trains a few steps, validates the fold and prints what
each part took. With a number of steps autoseg validates with mirrored copies, which it leaves out where a time budget
is short: the steps that are counted are too few then.
"""

from __future__ import annotations

import time

STARTED = time.monotonic()

import itertools  # noqa: E402 - the clock starts before the libraries load
import json  # noqa: E402
import statistics  # noqa: E402
import sys  # noqa: E402
from dataclasses import asdict, dataclass  # noqa: E402
from typing import Any  # noqa: E402

MACHINES = {"avx2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}}
"""Environment in which oneDNN, PyTorch and MKL use no more than a machine has."""
TIMED = 12
"""Steps that are timed; the first two do not count."""
REHEARSED = 5
"""Steps' worth of time that autoseg takes to rehearse where it has a time budget."""
LOOKS, LEAST_INTERVAL = 25, 50
"""Validations on patches in a training of autoseg, and the steps between them at least."""
SAFETY = 0.98
"""Share of the time that autoseg plans for."""
LEAST_SHARE = 0.5
"""Share of the budget that autoseg trains for in any case."""


@dataclass(frozen=True)
class Timing:
    """Seconds that the parts of a training take."""

    before: float
    """From the start of the command to the first step."""
    step: float
    look: float
    """A validation on patches, after some steps and after the last."""
    after: float
    """From the last step to the end of the command, all validation cases included."""

    def whole(self, steps: int) -> float:
        """Return the seconds of a whole command that makes so many steps."""
        looks = 1 + steps // max(LEAST_INTERVAL, steps // LOOKS)
        return self.before + steps * self.step + looks * self.look + self.after


def affordable_steps(timing: Timing, budget: float) -> int:
    """Count the steps of autoseg that fit into ``budget`` seconds of a whole command, at least 1."""
    end = max(LEAST_SHARE * budget, SAFETY * (budget - timing.after))
    left = end - timing.before - REHEARSED * timing.step - timing.look
    short = left / (timing.step + timing.look / LEAST_INTERVAL)
    long = (left - LOOKS * timing.look) / timing.step
    return max(1, int(max(short, long)))


def time_steps(workspace: str, configuration: str, fold: int) -> Timing:
    """Train a few steps in this process and validate the fold."""
    import autoseg

    ends: list[float] = []

    def listen(report: Any) -> None:
        ends.append(time.monotonic() - STARTED)

    autoseg.train_fold(workspace, configuration, fold, iterations=TIMED, restart=True, listener=listen)
    whole = time.monotonic() - STARTED
    each = [after - before for before, after in itertools.pairwise(ends[1:-1])]
    step = statistics.median(each)
    look = max(0.0, ends[-1] - ends[-2] - step)
    return Timing(before=ends[0] - step, step=step, look=look, after=whole - ends[-1])


def main() -> None:
    """Time steps."""
    workspace, configuration, fold = sys.argv[1:]
    print(json.dumps(asdict(time_steps(workspace, configuration, int(fold)))))


if __name__ == "__main__":
    main()
