"""Oversampling of rare classes: a foreground sample first draws a class, then a case that contains it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autoseg.data.dataset import Dataset
from autoseg.preprocessing.store import StoredCase
from autoseg.sampling.stream import Holders, Sampler, Triple, UniformSampler, around, check_share, forced, samplers


@samplers.register("balanced")
@dataclass(frozen=True)
class BalancedSampler:
    """Like ``foreground``, but for the last part (``fraction``) of each batch, the class is drawn before the case.

    The sampler draws a class, then a case that contains it, then a voxel of the class. With ``foreground``, all cases
    are equally likely, so a class that occurs in 2 of 200 cases is rarely sampled. Here, :func:`class_chances` gives
    the probability of each class, at least ``floor`` divided by the number of classes. All other patches are drawn
    uniformly in the stream's case.
    """

    fraction: float = 0.33
    floor: float = 0.25

    def __post_init__(self) -> None:
        check_share("fraction", self.fraction)
        check_share("floor", self.floor)

    def choose(
        self, case: int, holders: Holders, *, position: int, batch: int, rng: np.random.Generator
    ) -> tuple[int, Sampler]:
        """Return the case that a sample is taken from, ``case`` or another, and the sampler of its place there."""
        if not holders or not forced(self.fraction, position=position, batch=batch):
            return case, UniformSampler()
        classes = sorted(holders)
        chances = class_chances([len(holders[number]) for number in classes], floor=self.floor)
        chosen = classes[int(rng.choice(len(classes), p=chances))]
        having = holders[chosen]
        return having[int(rng.integers(len(having)))], ClassSampler(chosen)


@dataclass(frozen=True)
class ClassSampler:
    """Patches centred on a voxel of one class or region that the case contains."""

    number: int

    def __call__(
        self, case: StoredCase, patch: Triple, *, position: int, batch: int, rng: np.random.Generator
    ) -> Triple:
        """Draw a stored voxel of the class; the position in the batch has no effect."""
        voxels = case.foreground[self.number]
        return around(voxels[rng.integers(len(voxels))], case.shape, patch)


def class_chances(cases: Sequence[int], *, floor: float) -> np.ndarray:
    """Return the probability of drawing each class, [classes]; ``cases``: number of cases (above 0) per class.

    Probabilities are proportional to the square root of the number of cases, a compromise between equal probabilities
    of cases and equal probabilities of classes (Mahajan et al., ECCV 2018; Gupta et al., CVPR 2019). A class in 1 % of
    the cases is drawn a tenth as often as a class in all cases, and each of its cases ten times as often as the others.
    With equal probabilities of classes it would be a hundred times, and the network would overfit to these cases. The
    minimum probability of a class is ``floor`` divided by the number of classes.
    """
    roots = np.sqrt(np.asarray(cases, dtype=float))
    chances: np.ndarray = (1 - floor) * roots / roots.sum() + floor / len(roots)
    return chances


def class_holders(dataset: Dataset, cases: Sequence[str], voxels: Sequence[Mapping[str, int]]) -> Holders:
    """Return, for each class or region number, the indices in ``cases`` of the cases that contain it.

    Classes without a case are absent. ``voxels``: the stored voxel counts per class of each case. A case counts only
    for classes that are annotated in it, because training ignores the others.
    """
    holders: dict[int, tuple[int, ...]] = {}
    annotated = [dataset.annotated_classes(case) for case in cases]
    for number, name in enumerate(dataset.classes, start=1):
        having = (place for place, counts in enumerate(voxels) if name in annotated[place] and counts.get(str(number)))
        if found := tuple(having):
            holders[number] = found
    return holders
