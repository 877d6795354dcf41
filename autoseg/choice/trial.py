"""Trying out ways to predict on the held-out cases: which configurations, and what becomes of their probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np

from autoseg.choice.dice import Table, case_dice
from autoseg.choice.held_out import HeldOut, Progress
from autoseg.execution import default_workers, map_cases
from autoseg.inference.finish import Finish
from autoseg.plan import Component
from autoseg.preprocessing.store import read_case_record

R = TypeVar("R")

WORTH_PROCESSES = 500_000_000
"""Probabilities in all from which processes, which take seconds to start, win against doing it here."""
VOLUMES_BESIDE = 8
"""Volumes of four-byte numbers on the file's grid that decoding and measuring need beside the probabilities."""


@dataclass(frozen=True)
class Recipe:
    """A way to make label maps of images."""

    configurations: tuple[str, ...]
    mirror: bool = True
    decoder: Component = field(default_factory=lambda: {"name": "argmax"})
    steps: tuple[Component, ...] = ()


@dataclass(frozen=True)
class Job:
    """A held-out case and what is done with it, in this process or another one."""

    held_out: HeldOut
    case: str


def dice_of(
    held_out: HeldOut,
    recipes: Sequence[Recipe],
    *,
    what: str = "comparing",
    workers: int | None = None,
    progress: Progress | None = None,
) -> list[Table]:
    """Return the Dice [cases,classes] that each recipe reaches, the cases in the order of ``held_out.cases``.

    A case at a time is in memory: the probabilities of the configurations, each read once.
    """
    work = partial(_dice_of_case, recipes=tuple(recipes))
    found = over_cases(work, held_out, recipes, what=what, workers=workers, progress=progress)
    return [np.stack([tables[index] for tables in found]) for index in range(len(recipes))]


def over_cases(
    work: Callable[[Job], R],
    held_out: HeldOut,
    recipes: Sequence[Recipe],
    *,
    what: str,
    workers: int | None = None,
    progress: Progress | None = None,
) -> list[R]:
    """Call ``work`` for each held-out case; as many at once as the probabilities that ``recipes`` need leave memory."""
    names = sorted({name for recipe in recipes for name in recipe.configurations})
    jobs = [Job(held_out, case) for case in held_out.cases]
    memory = partial(_memory_needed, configurations=tuple(names))
    if workers is None:
        numbers = sum(map(memory, jobs)) // np.dtype(np.float32).itemsize
        workers = default_workers() if numbers > WORTH_PROCESSES else 0
    finished = progress(what, len(jobs)) if progress else None
    return map_cases(work, jobs, names=list(held_out.cases), workers=workers, memory_needed=memory, progress=finished)


def predicted(job: Job, recipe: Recipe) -> np.ndarray:
    """Make the label map [Z,Y,X] of a held-out case."""
    return next(_decoded(job, [recipe]))


def _dice_of_case(job: Job, *, recipes: Sequence[Recipe]) -> list[Table]:
    reference = job.held_out.reference(job.case)
    return [case_dice(labels, reference, job.held_out.dataset, job.case) for labels in _decoded(job, recipes)]


def _decoded(job: Job, recipes: Sequence[Recipe]) -> Iterator[np.ndarray]:
    """Yield one label map after the other; the probabilities that they are made from are read once."""
    needed = {(name, recipe.mirror) for recipe in recipes for name in recipe.configurations}
    scores = {key: job.held_out.scores(key[0], job.case, mirror=key[1]) for key in sorted(needed)}
    for recipe in recipes:
        shares = [scores[name, recipe.mirror] for name in recipe.configurations]
        yield Finish(recipe.decoder, recipe.steps).label_map(shares, job.held_out.dataset)


def _memory_needed(job: Job, *, configurations: Sequence[str]) -> int:
    """Estimate the bytes that a case takes."""
    held_out, numbers = job.held_out, 0
    size = 0
    for name in configurations:
        data = held_out.workspace.data(held_out.plan, held_out.plan.configuration(name))
        steps = read_case_record(data, job.case).steps
        numbers += held_out.dataset.outputs * math.prod(steps.shape)
        size = math.prod(steps.geometry.size)
    return (numbers + VOLUMES_BESIDE * size) * np.dtype(np.float32).itemsize
