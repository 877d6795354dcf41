"""Learning-rate schedules by name: progress from 0 to 1 in, factor of the base learning rate out.

A schedule knows how far training is, not how many steps it has, so that it ends at its end whatever the length.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from autoseg.quantities import Positive, Share
from autoseg.registry import Registry

Schedule = Callable[[float], float]

schedules: Registry = Registry("schedules")


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
