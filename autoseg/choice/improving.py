"""The search for post-processing that improves the label maps of held-out cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from autoseg.choice.component_table import Components, Found, find_cleaning, measure_components
from autoseg.choice.dice import Table, class_means, mean_dice
from autoseg.choice.held_out import HeldOut, Progress
from autoseg.choice.trial import Recipe, dice_of, over_cases, predicted
from autoseg.dataset import Dataset
from autoseg.evaluation.counting import disjoint_groups
from autoseg.plan import Component
from autoseg.postprocessing.holes import FillHoles
from autoseg.postprocessing.record import PostProcessing
from autoseg.postprocessing.target import find_target

SMALLEST_GAIN = 1e-4
"""Mean Dice from which a step is worth being explained to whoever wonders where a piece of a label map went."""
ONE_OBJECT: Component = {"name": "largest_component"}


@dataclass(frozen=True)
class Improved:
    """A recipe, the Dice [cases,classes] it reaches, and what new cases may expect of its steps in all."""

    recipe: Recipe
    table: Table
    expected_gain: float = 0.0


def find_postprocessing(
    held_out: HeldOut, recipe: Recipe, table: Table, *, workers: int | None = None, progress: Progress | None = None
) -> tuple[PostProcessing, Table]:
    """Find the steps that improve what ``recipe``, which has none, makes of the held-out cases.

    ``table`` is the Dice [cases,classes] it reaches. Tried are keeping the largest component of all the foreground,
    then for each class filling holes and keeping its largest component or those above a volume. Regions that hold
    others come before these. A step is taken where it improves cases that had no say in choosing it: the way to clean a
    class is chosen for each case on all the others. Returns the steps, and the Dice with them.
    """
    found = _try_one_object(held_out, Improved(recipe, table), workers=workers, progress=progress)
    for group in _groups(held_out.dataset):
        found = _try_classes(held_out, group, found, workers=workers, progress=progress)
    before, after = class_means(table), class_means(found.table)
    names = held_out.dataset.classes
    changed = {name: float(gain) for name, gain in zip(names, after - before, strict=True) if not np.isnan(gain)}
    steps = found.recipe.steps
    record = PostProcessing(
        configurations=recipe.configurations,
        trainer=held_out.trainer,
        decoder=recipe.decoder,
        steps=steps,
        gains={name: gain for name, gain in changed.items() if gain},
        gain=mean_dice(found.table) - mean_dice(table) if steps else None,
        expected_gain=found.expected_gain if steps else None,
    )
    return record, found.table


def _groups(dataset: Dataset) -> list[tuple[str, ...]]:
    """Put the classes into groups that are cleaned in one pass: they have no voxel in common, large regions first."""
    ordered = dict(sorted(dataset.classes.items(), key=lambda item: -len(item[1])))
    return [tuple(group) for group in disjoint_groups(ordered)]


def _try_one_object(held_out: HeldOut, before: Improved, *, workers: int | None, progress: Progress | None) -> Improved:
    """Keep the largest component of all the foreground if that is better for each case, going by all the others."""
    if len(held_out.dataset.values) < 2:
        return before  # It is the largest component of the only class.
    after = replace(before.recipe, steps=(ONE_OBJECT,))
    (table,) = dice_of(held_out, [after], what="trying one object", workers=workers, progress=progress)
    expected = mean_dice(chosen_by_others(before.table, table)) - mean_dice(before.table)
    return Improved(after, table, expected) if expected >= SMALLEST_GAIN else before


def chosen_by_others(plain: Table, changed: Table) -> Table:
    """Take the row of each case from ``changed`` where the other cases are better there on average, else ``plain``."""
    rows = []
    for case in range(len(plain)):
        others = np.arange(len(plain)) != case
        better = others.any() and mean_dice(changed[others]) > mean_dice(plain[others])
        rows.append(changed[case] if better else plain[case])
    return np.stack(rows)


def _try_classes(
    held_out: HeldOut, group: Sequence[str], before: Improved, *, workers: int | None, progress: Progress | None
) -> Improved:
    """Clean the classes of a group, each in its best way, if all of it together improves the mean Dice."""
    work = partial(_components_of_case, recipe=before.recipe, group=tuple(group))
    measured = over_cases(
        work, held_out, [before.recipe], what="examining components", workers=workers, progress=progress
    )
    cleanings = {name: find_cleaning([case[name] for case in measured if name in case]) for name in group}
    kept = {name: found for name, found in cleanings.items() if found.expected_gain >= SMALLEST_GAIN}
    if not kept:
        return before
    after = replace(before.recipe, steps=(*before.recipe.steps, *_steps(kept)))
    (table,) = dice_of(held_out, [after], what="trying post-processing", workers=workers, progress=progress)
    # What is done to a region changes those that it overlaps as well, for better or for worse.
    if mean_dice(table) - mean_dice(before.table) < SMALLEST_GAIN / len(held_out.dataset.classes):
        return before
    expected = sum(found.expected_gain for found in kept.values()) / len(held_out.dataset.classes)
    return Improved(after, table, before.expected_gain + expected)


def _steps(cleanings: Mapping[str, Found]) -> list[Component]:
    return [step for name, found in cleanings.items() for step in found.cleaning.steps(name)]


def _components_of_case(
    held_out: HeldOut, case: str, *, recipe: Recipe, group: Sequence[str]
) -> dict[str, tuple[Components, Components]]:
    """Measure the components of each class that was annotated in a case, as they are and with holes filled."""
    dataset = held_out.dataset
    labels, reference = predicted(held_out, case, recipe), held_out.reference(case)
    spacing = held_out.steps(case, recipe.configurations[0]).geometry.spacing
    known = ~np.isin(reference, dataset.ignore) if dataset.ignore else None
    voxel_mm3 = float(np.prod(spacing))
    annotated = dataset.annotated_classes(case)
    found = {}
    for name in group:
        if name not in annotated:
            continue
        target = find_target(dataset, name)
        filled = FillHoles(target)(labels, spacing)
        plain = measure_components(labels, reference, target, known=known, voxel_mm3=voxel_mm3)
        same = filled is labels
        whole = plain if same else measure_components(filled, reference, target, known=known, voxel_mm3=voxel_mm3)
        found[name] = (plain, whole)
    return found
