"""Evaluate recipes on the held-out cases: configurations, mirroring, decoder and post-processing steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import TypeVar

import numpy as np

from autoseg.choice.dice import Table, case_dice
from autoseg.choice.held_out import HeldOut, Progress
from autoseg.inference.averaging import averaged
from autoseg.postprocessing import PredictedCase
from autoseg.postprocessing.finish import Finish
from autoseg.postprocessing.scores import Scores
from autoseg.registry import Component
from autoseg.system.execution import IN_THIS_PROCESS, CaseExecutor, local_executor, map_cases

R = TypeVar("R")

WORTH_PROCESSES = 500_000_000
"""Total number of probabilities above which worker processes are faster, although they need seconds to start."""
KEPT = 4
"""Number of configurations whose probabilities of a case stay in memory. nnU-Net has four, so that all their ensembles
are evaluated without reading a file twice. Ensembles of more configurations need no more memory."""
VOLUMES_BESIDE = 8
"""Number of float32 volumes on the file's grid that decoding and measuring need in addition to the probabilities."""


@dataclass(frozen=True)
class Recipe:
    """A way to predict label maps: configurations, mirroring, decoder and post-processing steps."""

    configurations: tuple[str, ...]
    mirror: bool = True
    decoder: Component = field(default_factory=lambda: {"name": "argmax"})
    steps: tuple[Component, ...] = ()


def dice_of(
    held_out: HeldOut,
    recipes: Sequence[Recipe],
    *,
    what: str = "comparing",
    executor: CaseExecutor | None = None,
    progress: Progress | None = None,
) -> list[Table]:
    """Return the Dice [cases,classes] of each recipe, with the cases in the order of ``held_out.cases``.

    Memory contains one case at a time in each process: the probabilities of at most :data:`KEPT` configurations, and
    one mean.
    """
    work = partial(_dice_of_case, recipes=tuple(recipes))
    found = over_cases(work, held_out, recipes, what=what, executor=executor, progress=progress)
    return [np.stack([tables[index] for tables in found]) for index in range(len(recipes))]


def over_cases(
    work: Callable[[HeldOut, str], R],
    held_out: HeldOut,
    recipes: Sequence[Recipe],
    *,
    what: str,
    executor: CaseExecutor | None = None,
    progress: Progress | None = None,
) -> list[R]:
    """Call ``work`` for each held-out case; the memory for the probabilities of ``recipes`` limits parallel cases."""
    cases, needed = list(held_out.cases), sorted(_needed(recipes))
    memory = partial(_memory_needed, held_out, needed)
    if executor is None:
        numbers = sum(map(memory, cases)) // np.dtype(np.float32).itemsize
        executor = local_executor() if numbers > WORTH_PROCESSES else IN_THIS_PROCESS
    finished = progress(what, len(cases)) if progress else None
    return map_cases(partial(work, held_out), cases, executor, names=cases, memory_needed=memory, progress=finished)


def predicted(held_out: HeldOut, case: str, recipe: Recipe) -> np.ndarray:
    """Return the label map [Z,Y,X] of a held-out case by a recipe."""
    return next(_decoded(held_out, case, [recipe]))


def _dice_of_case(held_out: HeldOut, case: str, *, recipes: Sequence[Recipe]) -> list[Table]:
    reference = held_out.reference(case)
    return [case_dice(labels, reference, held_out.dataset, case) for labels in _decoded(held_out, case, recipes)]


def _decoded(held_out: HeldOut, case: str, recipes: Sequence[Recipe]) -> Iterator[np.ndarray]:
    """Yield one label map for each recipe; up to :data:`KEPT` probabilities are each read only once."""

    @lru_cache(maxsize=KEPT)
    def read(name: str, mirror: bool) -> Scores:
        return held_out.scores(name, case, mirror=mirror)

    for recipe in recipes:
        means = averaged(read(name, recipe.mirror) for name in recipe.configurations)
        seen = PredictedCase(means, held_out.dataset, partial(held_out.read_image, case))
        yield Finish(recipe.decoder, recipe.steps).label_map(seen)
        del means, seen


def mean_scores(held_out: HeldOut, case: str, recipe: Recipe) -> list[Scores]:
    """Return the mean probabilities of a recipe's configurations, one for each grid."""
    return averaged(held_out.scores(name, case, mirror=recipe.mirror) for name in recipe.configurations)


def _needed(recipes: Sequence[Recipe]) -> set[tuple[str, bool]]:
    """Return the pairs (configuration, mirroring) whose probabilities the recipes need."""
    return {(name, recipe.mirror) for recipe in recipes for name in recipe.configurations}


def _memory_needed(held_out: HeldOut, needed: Sequence[tuple[str, bool]], case: str) -> int:
    """Estimate the bytes of a case: the largest probabilities that are kept, a mean for each grid, and work arrays."""
    found = [held_out.preprocessing(case, name) for name, _ in needed]
    grids = {one: held_out.dataset.outputs * math.prod(one.shape) for one in found}
    kept = sorted((grids[one] for one in found), reverse=True)[:KEPT]
    means = sum(grids.values()) if len(found) > len(grids) else 0
    beside = VOLUMES_BESIDE * math.prod(found[0].geometry.size)
    return (sum(kept) + means + beside) * np.dtype(np.float32).itemsize
