"""Whether what was chosen can be believed, on the held-out cases: its probabilities, and what it expects of itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from autoseg.choice.dice import case_dice
from autoseg.choice.held_out import HeldOut, Progress
from autoseg.choice.quality import CaseQuality, Quality, agreement_of
from autoseg.choice.trial import Recipe, mean_scores, over_cases
from autoseg.dataset import Dataset
from autoseg.evaluation.expected_dice import LOWEST, expected_dice
from autoseg.evaluation.reliability import Reliability, pooled, reliability
from autoseg.inference.export import class_on_grid
from autoseg.inference.finish import Finish
from autoseg.preprocessing.crop import uncrop


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
) -> tuple[Calibration, Quality]:
    """Compare the mean probabilities and the label maps that ``recipe`` makes of held-out cases with the references.

    Voxels count for the calibration from a probability of :data:`~autoseg.evaluation.expected_dice.LOWEST`.
    """
    work = partial(_of_case, recipe=recipe)
    parts = over_cases(work, held_out, [recipe], what="comparing probabilities", workers=workers, progress=progress)
    found = pooled(part for part, _ in parts)
    calibration = Calibration(
        tuple(int(n) for n in found.counts),
        tuple(round(float(n), 2) for n in found.confidence),
        tuple(float(n) for n in found.correct),
        round(found.expected_error, 4) if found.counts.any() else None,
    )
    return calibration, Quality.of(dict(zip(held_out.cases, (quality for _, quality in parts), strict=True)))


def _of_case(held_out: HeldOut, case: str, *, recipe: Recipe) -> tuple[Reliability, CaseQuality]:
    """Compare the classes that were annotated in a case, one after the other, where voxels were annotated."""
    scores = mean_scores(held_out, case, recipe)
    dataset, steps, reference = held_out.dataset, scores[0].steps, held_out.reference(case)
    labels = Finish(recipe.decoder, recipe.steps).label_map(scores, dataset)
    known = ~np.isin(reference, dataset.ignore)
    found = reliability(np.zeros(0), np.zeros(0))
    estimated: dict[str, float] = {}
    for name, index, values in _outputs(dataset, case):
        probability = uncrop(steps.turn.undo(class_on_grid(scores, index)), steps.box, steps.geometry.size)
        there = known & (probability >= LOWEST)
        found += reliability(probability[there].clip(max=1), np.isin(reference[there], values))
        estimated[name] = expected_dice(np.where(known, probability, 0), known & np.isin(labels, values))
    agreed = agreement_of(held_out, case, recipe) if len(recipe.configurations) > 1 else None
    reached = dict(zip(dataset.classes, case_dice(labels, reference, dataset, case).tolist(), strict=True))
    return found, CaseQuality.of(estimated, agreed, reached)


def _outputs(dataset: Dataset, case: str) -> Iterator[tuple[str, int, tuple[int, ...]]]:
    """Yield each class, or region, that was annotated in a case, a network's output for it and its label values."""
    annotated = dataset.annotated_classes(case)
    for place, (name, values) in enumerate(dataset.classes.items()):
        if name in annotated:
            yield name, place if dataset.regions else dataset.class_indices[name][0], tuple(values)
