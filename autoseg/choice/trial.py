"""Trying out ways to predict on the held-out cases: which configurations, and what becomes of their probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import TypeVar

import numpy as np

from autoseg.choice.dice import Table, case_dice
from autoseg.choice.held_out import HeldOut, Progress
from autoseg.execution import default_workers, map_cases
from autoseg.inference.averaging import averaged
from autoseg.inference.export import Scores
from autoseg.inference.finish import Finish
from autoseg.plan import Component

R = TypeVar("R")

WORTH_PROCESSES = 500_000_000
"""Probabilities in all from which processes, which take seconds to start, win against doing it here."""
KEPT = 4
"""Configurations whose probabilities of a case are kept: all of nnU-Net's, so that many ensembles of a few are tried
without reading any again, and ensembles of any number take no more memory."""
VOLUMES_BESIDE = 8
"""Volumes of four-byte numbers on the file's grid that decoding and measuring need beside the probabilities."""


@dataclass(frozen=True)
class Recipe:
    """A way to make label maps of images."""

    configurations: tuple[str, ...]
    mirror: bool = True
    decoder: Component = field(default_factory=lambda: {"name": "argmax"})
    steps: tuple[Component, ...] = ()


def dice_of(
    held_out: HeldOut,
    recipes: Sequence[Recipe],
    *,
    what: str = "comparing",
    workers: int | None = None,
    progress: Progress | None = None,
) -> list[Table]:
    """Return the Dice [cases,classes] that each recipe reaches, the cases in the order of ``held_out.cases``.

    A case at a time is in memory, of its configurations' probabilities :data:`KEPT` at most, and a mean of some.
    """
    work = partial(_dice_of_case, recipes=tuple(recipes))
    found = over_cases(work, held_out, recipes, what=what, workers=workers, progress=progress)
    return [np.stack([tables[index] for tables in found]) for index in range(len(recipes))]


def over_cases(
    work: Callable[[HeldOut, str], R],
    held_out: HeldOut,
    recipes: Sequence[Recipe],
    *,
    what: str,
    workers: int | None = None,
    progress: Progress | None = None,
) -> list[R]:
    """Call ``work`` for each held-out case; as many at once as the probabilities that ``recipes`` need leave memory."""
    cases, needed = list(held_out.cases), sorted(_needed(recipes))
    memory = partial(_memory_needed, held_out, needed)
    if workers is None:
        numbers = sum(map(memory, cases)) // np.dtype(np.float32).itemsize
        workers = default_workers() if numbers > WORTH_PROCESSES else 0
    finished = progress(what, len(cases)) if progress else None
    return map_cases(
        partial(work, held_out), cases, names=cases, workers=workers, memory_needed=memory, progress=finished
    )


def predicted(held_out: HeldOut, case: str, recipe: Recipe) -> np.ndarray:
    """Make the label map [Z,Y,X] of a held-out case."""
    return next(_decoded(held_out, case, [recipe]))


def _dice_of_case(held_out: HeldOut, case: str, *, recipes: Sequence[Recipe]) -> list[Table]:
    reference = held_out.reference(case)
    return [case_dice(labels, reference, held_out.dataset, case) for labels in _decoded(held_out, case, recipes)]


def _decoded(held_out: HeldOut, case: str, recipes: Sequence[Recipe]) -> Iterator[np.ndarray]:
    """Yield one label map after the other; probabilities are read once where there are no more than are kept."""

    @lru_cache(maxsize=KEPT)
    def read(name: str, mirror: bool) -> Scores:
        return held_out.scores(name, case, mirror=mirror)

    for recipe in recipes:
        means = averaged(read(name, recipe.mirror) for name in recipe.configurations)
        yield Finish(recipe.decoder, recipe.steps).label_map(means, held_out.dataset)
        del means


def mean_scores(held_out: HeldOut, case: str, recipe: Recipe) -> list[Scores]:
    """Return the mean probabilities that a recipe decodes, one for each grid."""
    return averaged(held_out.scores(name, case, mirror=recipe.mirror) for name in recipe.configurations)


def _needed(recipes: Sequence[Recipe]) -> set[tuple[str, bool]]:
    """Return the configurations whose probabilities recipes need, with mirroring or without."""
    return {(name, recipe.mirror) for recipe in recipes for name in recipe.configurations}


def _memory_needed(held_out: HeldOut, needed: Sequence[tuple[str, bool]], case: str) -> int:
    """Estimate the bytes that a case takes: the largest probabilities that are kept, a mean for each grid."""
    found = [held_out.steps(case, name) for name, _ in needed]
    grids = {steps: held_out.dataset.outputs * math.prod(steps.shape) for steps in found}
    kept = sorted((grids[steps] for steps in found), reverse=True)[:KEPT]
    means = sum(grids.values()) if len(found) > len(grids) else 0
    beside = VOLUMES_BESIDE * math.prod(found[0].geometry.size)
    return (sum(kept) + means + beside) * np.dtype(np.float32).itemsize
