"""Evaluate the candidates that decoders and post-processing steps declare, on the held-out cases."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from autoseg.choice.dice import Table, difference, mean_dice
from autoseg.choice.held_out import HeldOut, Progress
from autoseg.choice.record import DecoderResult
from autoseg.choice.trial import Recipe, dice_of
from autoseg.postprocessing import candidates_of
from autoseg.system.execution import CaseExecutor

SMALLEST_GAIN = 1e-4
"""Smallest gain of mean Dice for which a step is kept. A step removes or adds parts of label maps, which users may have
to understand, so a smaller gain does not justify it."""


@dataclass(frozen=True)
class Improved:
    """A recipe, its Dice [cases,classes], and the expected gain of all its steps on new cases."""

    recipe: Recipe
    table: Table
    expected_gain: float = 0.0


def chosen_by_others(plain: Table, *changed: Table) -> Table:
    """Return a table whose row for each case comes from the table with the best mean Dice on the other cases.

    If tables are equal, the first is used.
    """
    rows = []
    for case in range(len(plain)):
        others = np.arange(len(plain)) != case
        means = [mean_dice(table[others]) if others.any() else 0.0 for table in (plain, *changed)]
        best = max(range(len(means)), key=lambda index: np.nan_to_num(means[index], nan=-1.0))
        rows.append((plain, *changed)[best][case])
    return np.stack(rows)


def try_decoders(
    held_out: HeldOut, recipe: Recipe, table: Table, *, executor: CaseExecutor | None, progress: Progress | None
) -> tuple[DecoderResult | None, Recipe, Table]:
    """Evaluate every decoder's candidates; keep the best one if the 95 % interval of its gain is above 0.

    ``table`` is the Dice [cases,classes] of ``recipe``. The result is None if no decoder has a candidate.
    """
    specs = [spec for specs in candidates_of(held_out.dataset, decode=True).values() for spec in specs]
    if not specs:
        return None, recipe, table
    recipes = [replace(recipe, decoder=spec) for spec in specs]
    tables = dice_of(held_out, recipes, what="trying other decoders", executor=executor, progress=progress)
    best = max(range(len(specs)), key=lambda index: mean_dice(tables[index]))
    gain = difference(tables[best], table)
    found = DecoderResult(specs[best], gain, kept=gain.shown)
    return (found, recipes[best], tables[best]) if gain.shown else (found, recipe, table)


def try_candidates(
    held_out: HeldOut, before: Improved, *, executor: CaseExecutor | None, progress: Progress | None
) -> Improved:
    """Evaluate the candidates of each step, one step after the other; a step uses its best candidate.

    The gain is measured by leave-one-out: for each case, the best candidate, or no step, is selected on all other
    cases. The step is kept if this gain is at least :data:`SMALLEST_GAIN`.
    """
    for name, specs in candidates_of(held_out.dataset, decode=False).items():
        recipes = [replace(before.recipe, steps=(*before.recipe.steps, spec)) for spec in specs]
        tables = dice_of(held_out, recipes, what=f"trying {name}", executor=executor, progress=progress)
        expected = mean_dice(chosen_by_others(before.table, *tables)) - mean_dice(before.table)
        best = max(range(len(specs)), key=lambda index: mean_dice(tables[index]))
        if expected >= SMALLEST_GAIN:
            before = Improved(recipes[best], tables[best], before.expected_gain + expected)
    return before
