"""Comparing what may predict on the held-out cases, by one of two rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from autoseg.choice.admission import Admission, Names, admit, ensembles_of
from autoseg.choice.dice import Table, mean_dice
from autoseg.choice.held_out import HeldOut, Progress
from autoseg.choice.record import Result, best, compare_results, defined
from autoseg.choice.trial import Recipe, dice_of


@dataclass(frozen=True)
class Compared:
    """What single configurations and ensembles reach, and which of them predicts."""

    results: tuple[Result, ...]
    chosen: Names
    table: Table
    """Dice [cases,classes] of what predicts."""
    admission: Admission | None = None
    """None where whatever is best predicts."""


def compare(
    held_out: HeldOut, admission: float | None, *, workers: int | None = None, progress: Progress | None = None
) -> Compared:
    """Try out single configurations and ensembles, each once.

    With ``admission`` what predicts is the mean of all that are by at most as much behind the best one; without it is
    the best of all single configurations, pairs, and all together.
    """

    def tried(ensembles: Sequence[Names]) -> list[Table]:
        recipes = [Recipe(names) for names in ensembles]
        return dice_of(held_out, recipes, what="comparing ensembles", workers=workers, progress=progress)

    if admission is None:
        names = ensembles(held_out.configurations)
        tables = tried(names)
        results = compare_results(names, tables, held_out.dataset)
        chosen = best(results).configurations
        return Compared(results, chosen, tables[names.index(chosen)])
    singles = [(name,) for name in held_out.configurations]
    alone = tried(singles)
    dice = {name: defined(mean_dice(table)) for (name,), table in zip(singles, alone, strict=True)}
    admitted = admit(dice, admission, not_compared=held_out.not_compared)
    several = ensembles_of(admitted, held_out.configurations)
    together = dict(zip(several, tried(list(several)), strict=True)) if several else {}
    reached = together | dict(zip(singles, alone, strict=True))
    results = compare_results(list(reached), list(reached.values()), held_out.dataset)
    named = tuple(replace(result, what=several.get(result.configurations)) for result in results)
    return Compared(named, admitted.admitted, reached[admitted.admitted], admitted)


def ensembles(names: Names) -> list[Names]:
    """List every configuration, every pair of them and, of more than two, all of them."""
    whole = [names] if len(names) > 2 else []
    return [*((name,) for name in names), *combinations(names, 2), *whole]
