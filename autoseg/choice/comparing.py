"""Compare single configurations and ensembles on the held-out cases, and select one by one of two rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from autoseg.choice.dice import Table, mean_dice
from autoseg.choice.dice_margin import Admission, Names, admit, ensembles_of
from autoseg.choice.held_out import HeldOut, Progress
from autoseg.choice.record import Result, best, compare_results, defined
from autoseg.choice.trial import Recipe, dice_of
from autoseg.system.execution import CaseExecutor


@dataclass(frozen=True)
class Compared:
    """Results of single configurations and ensembles, and the selected one."""

    results: tuple[Result, ...]
    chosen: Names
    table: Table
    """Dice [cases,classes] of the selected configurations."""
    dice_margin: Admission | None = None
    """None if the best result is selected without a margin."""


def compare(
    held_out: HeldOut,
    dice_margin: float | None,
    *,
    executor: CaseExecutor | None = None,
    progress: Progress | None = None,
) -> Compared:
    """Evaluate single configurations and ensembles, each once, and select one.

    With ``dice_margin``, the selected ensemble is the mean of all configurations whose Dice is at most this margin
    below the best. Without it, the best of all single configurations, pairs, and all together is selected.
    """

    def tried(ensembles: Sequence[Names]) -> list[Table]:
        recipes = [Recipe(names) for names in ensembles]
        return dice_of(held_out, recipes, what="comparing ensembles", executor=executor, progress=progress)

    if dice_margin is None:
        names = ensembles(held_out.configurations)
        tables = tried(names)
        results = compare_results(names, tables, held_out.dataset)
        chosen = best(results).configurations
        return Compared(results, chosen, tables[names.index(chosen)])
    singles = [(name,) for name in held_out.configurations]
    alone = tried(singles)
    dice = {name: defined(mean_dice(table)) for (name,), table in zip(singles, alone, strict=True)}
    admitted = admit(dice, dice_margin, not_compared=held_out.not_compared)
    several = ensembles_of(admitted, held_out.configurations)
    together = dict(zip(several, tried(list(several)), strict=True)) if several else {}
    reached = together | dict(zip(singles, alone, strict=True))
    results = compare_results(list(reached), list(reached.values()), held_out.dataset)
    named = tuple(replace(result, what=several.get(result.configurations)) for result in results)
    return Compared(named, admitted.admitted, reached[admitted.admitted], admitted)


def ensembles(names: Names) -> list[Names]:
    """List every configuration, every pair and, for more than two configurations, all of them together."""
    whole = [names] if len(names) > 2 else []
    return [*((name,) for name in names), *combinations(names, 2), *whole]
