"""Measure whether the gain of averaging over mirrored copies justifies its time."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from autoseg.choice.dice import Table, difference
from autoseg.choice.held_out import HeldOut, Progress, complete_scores, missing_scores, open_network
from autoseg.choice.record import MirroringResult
from autoseg.choice.trial import Recipe, dice_of
from autoseg.plan.schema import mirror_axes
from autoseg.system.execution import CaseExecutor

WORTH_DICE = 0.001
"""Smallest gain of mean Dice for which averaging over mirrored copies is kept. Averaging takes two to eight times as
long, and two trainings with different seeds differ by as much."""


def mirrors(held_out: HeldOut, configurations: Sequence[str]) -> bool:
    """Return whether any of the configurations allows mirroring."""
    return any(mirror_axes(held_out.plan, held_out.plan.configuration(name)) for name in configurations)


def is_measured(held_out: HeldOut, configurations: Sequence[str]) -> bool:
    """Return whether all probabilities without mirroring exist.

    An earlier run of choose wrote them, or a training that had no time for mirroring.
    """
    return not missing_scores(held_out, configurations, mirror=False)


def measure_mirroring(
    held_out: HeldOut,
    configurations: tuple[str, ...],
    *,
    device: torch.device | None,
    executor: CaseExecutor | None = None,
    progress: Progress | None = None,
) -> tuple[MirroringResult, Table]:
    """Compare predictions of the held-out cases with and without mirrored copies; predict missing ones.

    Returns the result, and the Dice [cases,classes] of the kept way.
    """
    complete_scores(held_out, device=device, configurations=configurations, mirror=False, progress=progress)
    recipes = [Recipe(configurations, mirror) for mirror in (True, False)]
    mirrored, plain = dice_of(held_out, recipes, what="comparing mirroring", executor=executor, progress=progress)
    gain = difference(mirrored, plain)
    times = [_seconds(held_out, name, device or torch.device("cpu")) for name in configurations]
    seconds, without = (sum(column) for column in zip(*times, strict=True))
    kept = gain.mean is None or gain.mean >= WORTH_DICE
    return MirroringResult(gain, seconds, without, kept), mirrored if kept else plain


def _seconds(held_out: HeldOut, name: str, device: torch.device) -> tuple[float, float]:
    """Predict one case with and without mirrored copies; return both times in seconds."""
    case, fold = next(iter(held_out.cases.items()))
    network = open_network(held_out, name, fold, device)
    network.predict(case, mirror=False)  # Warm-up: the first prediction includes one-time setup.
    times = []
    for mirror in (True, False):
        started = time.perf_counter()
        network.predict(case, mirror=mirror)
        times.append(time.perf_counter() - started)
    return times[0], times[1]
