"""Sampler of training patches: nnU-Net's rule, or class before case if some classes occur in few cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autoseg.data.dataset import Dataset
from autoseg.fingerprint.record import Fingerprint
from autoseg.plan.schema import Decision
from autoseg.registry import Component
from autoseg.sampling.balanced import BalancedSampler, class_chances

FRACTION = 0.33
"""Share of each batch that is guaranteed to contain foreground (nnU-Net)."""
RARE_SHARE = 0.2
"""Share of the cases below which a class is rare: it is missing in most batches."""
SELDOM = 0.5
"""A rare class changes the sampler only if nnU-Net's rule draws it less than this many times as often as the balanced
sampler. If each case has just one of many classes, all are rare, but nnU-Net's rule draws each of them often enough."""
MOST_NAMES = 5
"""Maximum number of class names in a reason; a dataset may have a hundred classes."""


@dataclass(frozen=True)
class Sampled:
    """Sampler of a plan, with its explanation."""

    spec: Component
    decision: Decision


@dataclass(frozen=True)
class _Rarity:
    """Number of cases with a class, and its probability in a foreground sample by each of the two rules."""

    name: str
    cases: int
    by_case: float
    by_class: float

    def is_rare(self, cases: int) -> bool:
        return self.cases < RARE_SHARE * cases and self.by_case < SELDOM * self.by_class


def sampling(dataset: Dataset, fingerprint: Fingerprint) -> Sampled:
    """Choose the sampler: class before case if some classes are rare, otherwise case before class."""
    total = len(fingerprint.labelled)
    rarities = _rarities(dataset, fingerprint)
    rare = [found for found in rarities if found.is_rare(total)]
    if not rare:
        rarest = f"rarest class: {_counted(rarities[0], total)}" if rarities else "no case has any class"
        decision = Decision("data", "foreground patches: first a case, then one of its classes", (rarest,))
        return Sampled({"name": "foreground", "fraction": FRACTION}, decision)
    first = rare[0]
    reasons = (
        f"classes in few cases: {_list(rare, total)}",
        f"{first.name} is drawn for {first.by_class:.1%} of the foreground patches; if cases were drawn first, it "
        f"would be drawn for {first.by_case:.1%}",
    )
    decision = Decision("data", "foreground patches: first a class, then a case that contains it", reasons)
    return Sampled({"name": "balanced", "fraction": FRACTION}, decision)


def _rarities(dataset: Dataset, fingerprint: Fingerprint) -> list[_Rarity]:
    """Measure each class that occurs in at least one labelled case, rarest first."""
    names = [name for name in dataset.classes if any(name in case.class_voxels for case in fingerprint.labelled)]
    held = np.array(
        [
            [case.class_voxels.get(name, 0) > 0 and name in annotated for name in names]
            for case in fingerprint.labelled
            for annotated in [dataset.annotated_classes(case.name)]
        ]
    ).reshape(len(fingerprint.labelled), len(names))
    cases = held.sum(axis=0)
    by_case = (held / held.sum(axis=1, keepdims=True).clip(min=1)).mean(axis=0)
    present = np.flatnonzero(cases)
    if not present.size:
        return []
    by_class = class_chances(cases[present], floor=BalancedSampler.floor)
    found = [
        _Rarity(names[place], int(cases[place]), float(by_case[place]), float(chance))
        for place, chance in zip(present, by_class, strict=True)
    ]
    return sorted(found, key=lambda rarity: rarity.cases)


def _counted(rarity: _Rarity, total: int) -> str:
    return f"{rarity.name} in {rarity.cases} of {total} cases"


def _list(rarities: Sequence[_Rarity], total: int) -> str:
    more = f" and {len(rarities) - MOST_NAMES} more" if len(rarities) > MOST_NAMES else ""
    return ", ".join(_counted(rarity, total) for rarity in rarities[:MOST_NAMES]) + more
