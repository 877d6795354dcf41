"""Whether averaging over mirrored copies is worth its time."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from autoseg.choice.dice import Table, difference
from autoseg.choice.held_out import HeldOut, Progress, complete_scores, missing_scores, open_network
from autoseg.choice.record import MirroringResult
from autoseg.choice.trial import Recipe, dice_of
from autoseg.plan import mirror_axes

WORTH_DICE = 0.001
"""Gain in mean Dice for which averaging over mirrored copies is kept: it takes two to eight times as long, and two
trainings that differ in nothing but their seed differ by as much."""


def mirrors(held_out: HeldOut, configurations: Sequence[str]) -> bool:
    """Tell whether any of the configurations may be mirrored at all."""
    return any(mirror_axes(held_out.plan, held_out.plan.configuration(name)) for name in configurations)


def is_measured(held_out: HeldOut, configurations: Sequence[str]) -> bool:
    """Tell whether probabilities without mirroring are there already, from an earlier choice or short of time."""
    return not missing_scores(held_out, configurations, mirror=False)


def measure_mirroring(
    held_out: HeldOut,
    configurations: tuple[str, ...],
    *,
    device: torch.device | None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> tuple[MirroringResult, Table]:
    """Compare predictions of the held-out cases with and without mirrored copies; predict what is not there yet.

    Returns what was found, and the Dice [cases,classes] with what is better worth its time.
    """
    complete_scores(held_out, device=device, configurations=configurations, mirror=False, progress=progress)
    recipes = [Recipe(configurations, mirror) for mirror in (True, False)]
    mirrored, plain = dice_of(held_out, recipes, what="comparing mirroring", workers=workers, progress=progress)
    gain = difference(mirrored, plain)
    times = [_seconds(held_out, name, device or torch.device("cpu")) for name in configurations]
    seconds, without = (sum(column) for column in zip(*times, strict=True))
    kept = gain.mean is None or gain.mean >= WORTH_DICE
    return MirroringResult(gain, seconds, without, kept), mirrored if kept else plain


def _seconds(held_out: HeldOut, name: str, device: torch.device) -> tuple[float, float]:
    """Predict one case with mirrored copies and without, and return how long that took."""
    case, fold = next(iter(held_out.cases.items()))
    network = open_network(held_out, name, fold, device)
    network.predict(case, mirror=False)  # The first prediction pays for what is set up once.
    times = []
    for mirror in (True, False):
        started = time.perf_counter()
        network.predict(case, mirror=mirror)
        times.append(time.perf_counter() - started)
    return times[0], times[1]
