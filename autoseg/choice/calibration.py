"""Calibration of the selected ensemble on the held-out cases: its probabilities and its expected Dice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from autoseg.choice.dice import case_dice
from autoseg.choice.held_out import HeldOut, Progress
from autoseg.choice.quality import CaseQuality, Quality, agreement_of
from autoseg.choice.trial import Recipe, mean_scores, over_cases
from autoseg.data.dataset import Dataset
from autoseg.evaluation.expected_dice import LOWEST, expected_dice
from autoseg.evaluation.reliability import Reliability, pooled, reliability
from autoseg.images.crop import uncrop
from autoseg.postprocessing import PredictedCase
from autoseg.postprocessing.finish import Finish
from autoseg.postprocessing.label_maps import class_on_grid
from autoseg.system.execution import CaseExecutor


@dataclass(frozen=True)
class Calibration:
    """Predicted probability compared with the true frequency of the class, over all foreground classes together.

    The probabilities are divided into ranges of equal width from 0 to 1.
    """

    counts: tuple[int, ...]
    """Number of voxels in each range."""
    probabilities: tuple[float, ...]
    """Sum of the probabilities in each range."""
    held: tuple[float, ...]
    """Number of voxels in each range that belong to the class in the reference."""
    expected_error: float | None
    """Mean absolute difference of probability and true frequency; None without any voxel."""

    @property
    def reliability(self) -> Reliability:
        """The same numbers as arrays."""
        return Reliability(np.array(self.counts), np.array(self.probabilities), np.array(self.held))


def measure_calibration(
    held_out: HeldOut, recipe: Recipe, *, executor: CaseExecutor | None = None, progress: Progress | None = None
) -> tuple[Calibration, Quality]:
    """Compare the mean probabilities and label maps of ``recipe`` with the references of the held-out cases.

    The calibration uses voxels with a probability of at least :data:`~autoseg.evaluation.expected_dice.LOWEST`.
    """
    work = partial(_of_case, recipe=recipe)
    parts = over_cases(work, held_out, [recipe], what="comparing probabilities", executor=executor, progress=progress)
    found = pooled(part for part, _ in parts)
    calibration = Calibration(
        tuple(int(n) for n in found.counts),
        tuple(round(float(n), 2) for n in found.confidence),
        tuple(float(n) for n in found.correct),
        round(found.expected_error, 4) if found.counts.any() else None,
    )
    return calibration, Quality.of(dict(zip(held_out.cases, (quality for _, quality in parts), strict=True)))


def _of_case(held_out: HeldOut, case: str, *, recipe: Recipe) -> tuple[Reliability, CaseQuality]:
    """Compare each annotated class of a case with its reference, without ignored voxels."""
    scores = mean_scores(held_out, case, recipe)
    dataset, preprocessing, reference = held_out.dataset, scores[0].preprocessing, held_out.reference(case)
    seen = PredictedCase(scores, dataset, partial(held_out.read_image, case))
    labels = Finish(recipe.decoder, recipe.steps).label_map(seen)
    known = ~np.isin(reference, dataset.ignore)
    found = reliability(np.zeros(0), np.zeros(0))
    estimated: dict[str, float] = {}
    for name, index, values in _outputs(dataset, case):
        probability = uncrop(
            preprocessing.reorientation.undo(class_on_grid(scores, index)),
            preprocessing.box,
            preprocessing.geometry.size,
        )
        there = known & (probability >= LOWEST)
        found += reliability(probability[there].clip(max=1), np.isin(reference[there], values))
        estimated[name] = expected_dice(np.where(known, probability, 0), known & np.isin(labels, values))
    agreed = agreement_of(held_out, case, recipe) if len(recipe.configurations) > 1 else None
    reached = dict(zip(dataset.classes, case_dice(labels, reference, dataset, case).tolist(), strict=True))
    return found, CaseQuality.of(estimated, agreed, reached)


def _outputs(dataset: Dataset, case: str) -> Iterator[tuple[str, int, tuple[int, ...]]]:
    """Yield (name, index of the network's output, label values) of each annotated class or region of a case."""
    annotated = dataset.annotated_classes(case)
    for place, (name, values) in enumerate(dataset.classes.items()):
        if name in annotated:
            yield name, place if dataset.regions else dataset.class_indices[name][0], tuple(values)
