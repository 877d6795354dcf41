"""Registry of learning-rate schedules: functions from progress (0 to 1) to a factor of the base learning rate.

A schedule depends on the progress, not on the number of steps, so that it fits a training of any length. A schedule
that also depends on validation is a :class:`autoseg.learning.plateau.WatchingSchedule`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

from autoseg.learning.plateau import Plateau
from autoseg.registry import Positive, Registry, Share

Schedule = Callable[[float], float]

schedules: Registry = Registry("schedules")

schedules.register("plateau")(Plateau)

ROUNDING = 1e-9
"""Tolerance for rounding errors of the progress, which is a sum over steps."""

Fraction = Annotated[float, Gt(0), Le(1)]


@schedules.register("polynomial")
def polynomial(*, power: Positive = 0.9) -> Schedule:
    """Return (1 - progress)^power; nnU-Net uses a power of 0.9."""
    return lambda progress: max(0.0, 1.0 - progress) ** power


@schedules.register("cosine")
def cosine(*, warmup: Share = 0.0, final: Share = 0.0) -> Schedule:
    """Rise linearly over the share ``warmup``, then fall to ``final`` along half a cosine (Loshchilov, Hutter 2017)."""

    def factor(progress: float) -> float:
        if progress < warmup:
            return progress / warmup
        angle = math.pi * min(1.0, (progress - warmup) / max(1.0 - warmup, 1e-12))
        return final + (1.0 - final) * 0.5 * (1.0 + math.cos(angle))

    return factor


@schedules.register("constant")
def constant() -> Schedule:
    """Keep the base learning rate."""
    return lambda progress: 1.0


@schedules.register("exponential")
def exponential(*, final: Fraction = 0.01) -> Schedule:
    """Fall exponentially to ``final``."""
    return lambda progress: final ** min(1.0, progress)


@schedules.register("staircase")
def staircase(*, stairs: Annotated[int, Ge(1)] = 5, factor: Fraction = 0.5) -> Schedule:
    """Divide training into ``stairs`` equal parts; multiply the rate by ``factor`` from each part to the next."""

    def level(progress: float) -> float:
        # Rounding may put the progress just below the start of a stair.
        return factor ** min(stairs - 1, math.floor(progress * stairs + ROUNDING))

    return level


@schedules.register("sgdr")
def sgdr(
    *,
    cycles: Annotated[int, Ge(1), Le(100)] = 3,
    growth: Annotated[float, Ge(1), Le(10)] = 2.0,
    final: Share = 0.0,
) -> Schedule:
    """Fall to ``final`` along half a cosine in each of ``cycles``; each cycle is ``growth`` times as long as the last.

    Warm restarts (Loshchilov and Hutter 2017, equation 5): ``growth`` is T_mult; T_0 is chosen such that the last cycle
    ends with the training.
    """
    lengths = [growth**cycle for cycle in range(cycles)]
    begins = [sum(lengths[:cycle]) / sum(lengths) for cycle in range(cycles)]
    fall = cosine(final=final)

    def factor(progress: float) -> float:
        cycle = max(cycle for cycle, begin in enumerate(begins) if progress + ROUNDING >= begin)
        return fall(max(0.0, progress - begins[cycle]) * sum(lengths) / lengths[cycle])

    return factor


@schedules.register("one_cycle")
def one_cycle(*, rise: Annotated[float, Gt(0), Lt(1)] = 0.3, first: Share = 0.04, final: Share = 4e-6) -> Schedule:
    """Rise from ``first`` for the share ``rise``, then fall to ``final``, both along half a cosine (Smith 2018).

    The defaults are PyTorch's. The momentum is constant; Smith also cycles it.
    """
    up, down = cosine(final=first), cosine(final=final)

    def factor(progress: float) -> float:
        return up(1.0 - progress / rise) if progress < rise else down((progress - rise) / (1.0 - rise))

    return factor
