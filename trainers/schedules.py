"""Learning-rate schedules by name: progress from 0 to 1 in, factor of the base learning rate out.

A schedule knows how far training is, not how many steps it has, so that it ends at its end whatever the length. One
that also looks at validations is a :class:`autoseg.trainers.plateau.WatchingSchedule`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

from autoseg.quantities import Positive, Share
from autoseg.registry import Registry
from autoseg.trainers.plateau import Plateau

Schedule = Callable[[float], float]

schedules: Registry = Registry("schedules")

schedules.register("plateau")(Plateau)

ROUNDING = 1e-9
"""Progress, which is added up step by step, may fall short of a round number by less than this."""

Fraction = Annotated[float, Gt(0), Le(1)]


@schedules.register("polynomial")
def polynomial(*, power: Positive = 0.9) -> Schedule:
    """Return (1 - progress)^power, nnU-Net's decay at a power of 0.9."""
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
    """Fall to ``final`` by the same factor with every step."""
    return lambda progress: final ** min(1.0, progress)


@schedules.register("staircase")
def staircase(*, stairs: Annotated[int, Ge(1)] = 5, factor: Fraction = 0.5) -> Schedule:
    """Keep the rate on each of as many equally long ``stairs``, on each ``factor`` times what it was before."""

    def level(progress: float) -> float:
        # A product of rounded numbers may end just below the stair that it begins.
        return factor ** min(stairs - 1, math.floor(progress * stairs + ROUNDING))

    return level


@schedules.register("sgdr")
def sgdr(
    *,
    cycles: Annotated[int, Ge(1), Le(100)] = 3,
    growth: Annotated[float, Ge(1), Le(10)] = 2.0,
    final: Share = 0.0,
) -> Schedule:
    """Fall to ``final`` along half a cosine, again and again, each time ``growth`` times as long as the last.

    Warm restarts (Loshchilov and Hutter 2017, equation 5): ``growth`` is T_mult, and T_0 such that the ``cycles`` end
    where training does.
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

    The defaults are PyTorch's; the momentum, which may cycle as well, stays.
    """
    up, down = cosine(final=first), cosine(final=final)

    def factor(progress: float) -> float:
        return up(1.0 - progress / rise) if progress < rise else down((progress - rise) / (1.0 - rise))

    return factor
