"""Which patches are trained on: by nnU-Net's rule, or, where classes are rare among cases, classes before cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autoseg.balanced_sampling import BalancedSampler, class_chances
from autoseg.dataset import Dataset
from autoseg.fingerprint import Fingerprint
from autoseg.plan import Component, Decision

FRACTION = 0.33
"""Share of each batch that holds foreground for sure (nnU-Net)."""
RARE_SHARE = 0.2
"""Share of the cases below which a class is rare among them: it is missing from most batches of any size."""
SELDOM = 0.5
"""A rare class is worth another sampler where nnU-Net's rule draws it less than so many times as often; where each case
has just one of many classes, all are in few cases, and that rule draws each of them often enough."""
MOST_NAMES = 5
"""Classes that a reason names; there may be a hundred."""


@dataclass(frozen=True)
class Sampled:
    """What a plan says of sampling."""

    spec: Component
    decision: Decision


@dataclass(frozen=True)
class _Rarity:
    """How rare a class is among the cases, and how likely a foreground sample is drawn for it by either rule."""

    name: str
    cases: int
    by_case: float
    by_class: float

    def is_rare(self, cases: int) -> bool:
        return self.cases < RARE_SHARE * cases and self.by_case < SELDOM * self.by_class


def sampling(dataset: Dataset, fingerprint: Fingerprint) -> Sampled:
    """Draw classes before cases where some are rare among the cases, and else cases before classes."""
    total = len(fingerprint.cases)
    rarities = _rarities(dataset, fingerprint)
    rare = [found for found in rarities if found.is_rare(total)]
    if not rare:
        rarest = f"rarest class: {_counted(rarities[0], total)}" if rarities else "no case has any class"
        decision = Decision("data", "foreground patches of a class that their case has", (rarest,))
        return Sampled({"name": "foreground", "fraction": FRACTION}, decision)
    first = rare[0]
    reasons = (
        f"rare among cases: {_list(rare, total)}",
        f"{first.name} is drawn for {first.by_class:.1%} of the foreground patches, where drawing cases first would "
        f"draw it for {first.by_case:.1%}",
    )
    decision = Decision("data", "foreground patches of a class first, then of a case that has it", reasons)
    return Sampled({"name": "balanced", "fraction": FRACTION}, decision)


def _rarities(dataset: Dataset, fingerprint: Fingerprint) -> list[_Rarity]:
    """Measure each class that some case has, rarest first."""
    names = [name for name in dataset.classes if any(name in case.class_voxels for case in fingerprint.cases)]
    held = np.array(
        [
            [case.class_voxels.get(name, 0) > 0 and name in annotated for name in names]
            for case in fingerprint.cases
            for annotated in [dataset.annotated_classes(case.name)]
        ]
    ).reshape(len(fingerprint.cases), len(names))
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
