"""Mirrored labels: the outputs and labels that are swapped (left and right) if the body is mirrored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autoseg.data.dataset import IGNORED, Dataset
from autoseg.errors import PlanError
from autoseg.plan.schema import Configuration, Plan, patch_axis
from autoseg.preprocessing.channel_layout import channel_layout


@dataclass(frozen=True)
class MirroredLabels:
    """What is swapped in a patch that is mirrored along one of its axes. Swapping twice restores the original."""

    axis: int
    """Spatial axis of the patch."""
    outputs: tuple[int, ...]
    """For each output, the index of the output that it is swapped with, or its own index."""
    labels: tuple[int, ...]
    """New index of each index in preprocessed label maps, starting at 0; the last entry is for ignored voxels."""
    negated: tuple[int, ...] = ()
    """Channels of preprocessed images that change sign, such as the left-right position."""


def plan_mirrored_labels(
    plan: Plan, configuration: Configuration, dataset: Dataset, *, source: Path
) -> MirroredLabels | None:
    """Return what is swapped in a configuration's mirrored patches according to a plan; None if nothing is swapped.

    ``source``: the plan's file. Raises :class:`PlanError` with the name of the field if a class is not in the dataset,
    or if label maps cannot be swapped.
    """
    if plan.mirrored_classes is None:
        return None
    place = f"{source}: field 'mirrored_classes.classes', found"
    known = tuple(dataset.classes)
    unknown = [name for pair in plan.mirrored_classes.classes for name in pair if name not in known]
    if unknown:
        raise PlanError(f"{place} '{unknown[0]}', expected one of {', '.join(known)}")
    labels = mirrored_indices(dataset, plan.mirrored_classes.classes)
    if labels is None:
        pairs = "; ".join(" and ".join(pair) for pair in plan.mirrored_classes.classes)
        raise PlanError(
            f"{place} {pairs}, expected regions whose label values come in pairs; set 'mirrored_classes' to null and "
            f"remove axis {plan.mirrored_classes.axis} from 'mirror_axes'"
        )
    axis = patch_axis(plan.mirrored_classes.axis, configuration)
    if axis is None or plan.mirrored_classes.axis not in plan.mirror_axes:
        return None
    partner = _partners(plan.mirrored_classes.classes)
    # If classes exclude each other, outputs have the same numbers as their labels.
    outputs = tuple(known.index(partner.get(name, name)) for name in known) if dataset.regions else labels
    negated = channel_layout(configuration, dataset).mirrored(plan.mirrored_classes.axis, plan.transpose)
    return MirroredLabels(axis, outputs, (*labels, IGNORED), negated)


def mirrored_indices(dataset: Dataset, pairs: Sequence[tuple[str, str]]) -> tuple[int, ...] | None:
    """Return the new index of each index of preprocessed label maps after pairs of classes are swapped.

    The first entry is for the background. Returns None if the swap is impossible: regions overlap, so the two regions
    of a pair can have different numbers of values, or share values with other regions in different ways.
    """
    partner, members = _partners(pairs), _members(dataset)
    # Values with the same set of regions form a group: they become the values with the set of partner regions.
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
