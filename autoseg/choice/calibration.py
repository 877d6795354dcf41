"""Whether the probabilities of what was chosen can be believed, on the held-out cases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from autoseg.choice.held_out import HeldOut, Progress
from autoseg.choice.trial import Recipe, mean_scores, over_cases
from autoseg.dataset import Dataset
from autoseg.evaluation.reliability import Reliability, pooled, reliability
from autoseg.inference.export import class_on_grid
from autoseg.preprocessing.crop import uncrop

LOWEST = 0.01
"""Probability of a class from which a voxel counts: of nearly all voxels a network is sure, and rightly, that they hold
nothing, which would hide how well it knows the others."""


@dataclass(frozen=True)
class Calibration:
    """Of voxels that were given a class with some probability, how many hold it; all foreground classes together."""

    counts: tuple[int, ...]
    """Of voxels in each of some equally wide ranges of probability, from 0 to 1."""
    probabilities: tuple[float, ...]
    """Their sum in each range."""
    held: tuple[float, ...]
    """Of voxels that hold the class, in each range."""
    expected_error: float | None
    """Mean distance of probability and share; None without any voxel."""

    @property
    def reliability(self) -> Reliability:
        """The same as arrays."""
        return Reliability(np.array(self.counts), np.array(self.probabilities), np.array(self.held))


def measure_calibration(
    held_out: HeldOut, recipe: Recipe, *, workers: int | None = None, progress: Progress | None = None
) -> Calibration:
    """Compare the mean probabilities that ``recipe`` makes of each held-out case with the reference."""
    work = partial(_of_case, recipe=recipe)
    parts = over_cases(work, held_out, [recipe], what="comparing probabilities", workers=workers, progress=progress)
    found = pooled(parts)
    return Calibration(
        tuple(int(n) for n in found.counts),
        tuple(round(float(n), 2) for n in found.confidence),
        tuple(float(n) for n in found.correct),
        round(found.expected_error, 4) if found.counts.any() else None,
    )


def _of_case(held_out: HeldOut, case: str, *, recipe: Recipe) -> Reliability:
    """Compare the classes that were annotated in a case, one after the other, where voxels were annotated."""
    scores = mean_scores(held_out, case, recipe)
    dataset, steps, reference = held_out.dataset, scores[0].steps, held_out.reference(case)
    known = ~np.isin(reference, dataset.ignore)
    found = reliability(np.zeros(0), np.zeros(0))
    for index, values in _outputs(dataset, case):
        probability = uncrop(steps.turn.undo(class_on_grid(scores, index)), steps.box, steps.geometry.size)
        there = known & (probability >= LOWEST)
        found += reliability(probability[there].clip(max=1), np.isin(reference[there], values))
    return found


def _outputs(dataset: Dataset, case: str) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yield the output of a network for each class, or region, that was annotated in a case, and its label values."""
    annotated = dataset.annotated_classes(case)
    for place, (name, values) in enumerate(dataset.classes.items()):
        if name in annotated:
            yield place if dataset.regions else dataset.class_indices[name][0], tuple(values)
