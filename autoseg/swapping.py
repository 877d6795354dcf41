"""What mirroring across the body does to classes: which outputs and which labels change places."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autoseg.dataset import IGNORED, Dataset
from autoseg.errors import PlanError
from autoseg.plan import Configuration, Plan, patch_axis
from autoseg.preprocessing.extra import mirrored_channels


@dataclass(frozen=True)
class Swapping:
    """What changes places in a patch that is mirrored along one of its axes. Doing it twice changes nothing."""

    axis: int
    """Spatial axis of the patch."""
    outputs: tuple[int, ...]
    """Output whose place each output takes."""
    labels: tuple[int, ...]
    """Index in preprocessed label maps that each index becomes, from 0 on; the last entry is that of ignored voxels."""
    negated: tuple[int, ...] = ()
    """Channels of preprocessed images that change sign, such as the place across the body."""


def plan_swapping(plan: Plan, configuration: Configuration, dataset: Dataset, *, source: Path) -> Swapping | None:
    """Return what a plan says changes places in a configuration's patches; None where nothing does.

    ``source``: the plan's file. Raises :class:`PlanError` that names the field where classes are not the dataset's, or
    where label maps cannot follow.
    """
    if plan.swap is None:
        return None
    place = f"{source}: field 'swap.classes', found"
    known = tuple(dataset.classes)
    unknown = [name for pair in plan.swap.classes for name in pair if name not in known]
    if unknown:
        raise PlanError(f"{place} '{unknown[0]}', expected one of {', '.join(known)}")
    labels = label_swap(dataset, plan.swap.classes)
    if labels is None:
        pairs = "; ".join(" and ".join(pair) for pair in plan.swap.classes)
        raise PlanError(
            f"{place} {pairs}, expected regions whose label values come in pairs; set 'swap' to null and take axis "
            f"{plan.swap.axis} out of 'mirror_axes'"
        )
    axis = patch_axis(plan.swap.axis, configuration)
    if axis is None or plan.swap.axis not in plan.mirror_axes:
        return None
    partner = _partners(plan.swap.classes)
    # Where classes exclude each other, outputs are numbered as their labels are.
    outputs = tuple(known.index(partner.get(name, name)) for name in known) if dataset.regions else labels
    negated = mirrored_channels(configuration, plan.swap.axis, plan.transpose)
    return Swapping(axis, outputs, (*labels, IGNORED), negated)


def label_swap(dataset: Dataset, pairs: Sequence[tuple[str, str]]) -> tuple[int, ...] | None:
    """Return the index that each index of preprocessed label maps becomes when pairs of classes change places.

    The first entry is the background's. None where there is no such exchange: regions overlap, and those of a pair may
    have different numbers of values, or share values with other regions in different ways.
    """
    partner, members = _partners(pairs), _members(dataset)
    # Values that belong to the same regions are alike: they become those that belong to the regions' partners.
    alike: dict[frozenset[str], list[int]] = defaultdict(list)
    for index in range(1, len(dataset.values) + 1):
        alike[members[index]].append(index)
    swapped = {0: 0}
    for names, indices in alike.items():
        others = alike.get(frozenset(partner.get(name, name) for name in names), [])
        if len(others) != len(indices):
            return None
        swapped.update(zip(indices, others, strict=True))
    return tuple(swapped[index] for index in sorted(swapped))


def _partners(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    return {name: other for pair in pairs for name, other in (pair, pair[::-1])}


def _members(dataset: Dataset) -> dict[int, frozenset[str]]:
    """Return the classes that each index belongs to."""
    belongs: dict[int, set[str]] = defaultdict(set)
    for name, indices in dataset.class_indices.items():
        for index in indices:
            belongs[index].add(name)
    return {index: frozenset(names) for index, names in belongs.items()}
