"""Patches of rare classes: a foreground sample first chooses a class, then a case that has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autoseg.dataset import Dataset
from autoseg.preprocessing.store import StoredCase
from autoseg.sampling import Holders, Sampler, Triple, UniformSampler, around, check_share, forced, samplers


@samplers.register("balanced")
@dataclass(frozen=True)
class BalancedSampler:
    """As ``foreground``, but the last share of each batch is centred on a class that is drawn before the case is.

    Then a case that has the class is drawn, then a voxel of it. Where every case is as likely, as with ``foreground``,
    a class that 2 of 200 cases have is hardly seen; see :func:`class_chances`, which takes ``floor``, for how often it
    is here. All other patches are anywhere in the stream's own case.
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
    """Places centred on a voxel of one class, or region, that the case has."""

    number: int

    def __call__(
        self, case: StoredCase, patch: Triple, *, position: int, batch: int, rng: np.random.Generator
    ) -> Triple:
        """Choose a voxel among those stored of the class, whatever the position in the batch."""
        voxels = case.foreground[self.number]
        return around(voxels[rng.integers(len(voxels))], case.shape, patch)


def class_chances(cases: Sequence[int], *, floor: float) -> np.ndarray:
    """Return how likely each class is to be drawn, [classes], given how many ``cases`` have it, none of them 0.

    As the square root of its cases, half-way between drawing cases alike and drawing classes alike (Mahajan et al.,
    ECCV 2018; Gupta et al., CVPR 2019): a class in a hundredth of the cases is seen a
    tenth as often as one in all of them, and each of its cases ten times as often as the others, not a hundred times,
    by which a network would learn them by heart. No class is less likely than ``floor`` times what it would be if
    classes were drawn alike.
    """
    roots = np.sqrt(np.asarray(cases, dtype=float))
    chances: np.ndarray = (1 - floor) * roots / roots.sum() + floor / len(roots)
    return chances


def class_holders(dataset: Dataset, cases: Sequence[str], voxels: Sequence[Mapping[str, int]]) -> Holders:
    """Return the places among ``cases`` of those that have each class or region, by its number; none that no case has.

    ``voxels`` are those that each case, as stored, counts of each. Those of a class that was not annotated in a case
    teach nothing: the case does not count as having it.
    """
    holders: dict[int, tuple[int, ...]] = {}
    annotated = [dataset.annotated_classes(case) for case in cases]
    for number, name in enumerate(dataset.classes, start=1):
        having = (place for place, counts in enumerate(voxels) if name in annotated[place] and counts.get(str(number)))
        if found := tuple(having):
            holders[number] = found
    return holders
