"""Search for post-processing steps that improve the label maps of held-out cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from autoseg.choice.candidates import SMALLEST_GAIN, Improved, chosen_by_others, try_candidates
from autoseg.choice.component_table import Components, Found, find_cleaning, measure_components
from autoseg.choice.dice import Table, class_means, mean_dice
from autoseg.choice.held_out import HeldOut, Progress
from autoseg.choice.trial import Recipe, dice_of, over_cases, predicted
from autoseg.data.dataset import Dataset
from autoseg.evaluation.counting import disjoint_groups
from autoseg.inference.ensemble import PostProcessing
from autoseg.postprocessing.holes import FillHoles
from autoseg.postprocessing.target import find_target
from autoseg.registry import Component
from autoseg.system.execution import CaseExecutor

ONE_OBJECT: Component = {"name": "largest_component"}


def find_postprocessing(
    held_out: HeldOut,
    recipe: Recipe,
    table: Table,
    *,
    executor: CaseExecutor | None = None,
    progress: Progress | None = None,
) -> tuple[PostProcessing, Table]:
    """Find the post-processing steps that improve the held-out label maps of ``recipe``, which has no steps.

    ``table`` is the Dice [cases,classes] of ``recipe``. The search first tries to keep only the largest component of
    the whole foreground. It then tries for each class to fill holes, and to keep the largest component or the
    components above a volume; outer regions come before the regions inside them. Last come the candidates that other
    steps declare. The gain is measured by leave-one-out: the way to clean a class is selected for each case on all
    other cases. Returns the steps that improve the Dice, and the Dice with these steps.
    """
    found = _try_one_object(held_out, Improved(recipe, table), executor=executor, progress=progress)
    for group in _groups(held_out.dataset):
        found = _try_classes(held_out, group, found, executor=executor, progress=progress)
    found = try_candidates(held_out, found, executor=executor, progress=progress)
    before, after = class_means(table), class_means(found.table)
    names = held_out.dataset.classes
    changed = {name: float(gain) for name, gain in zip(names, after - before, strict=True) if not np.isnan(gain)}
    steps = found.recipe.steps
    record = PostProcessing(
        steps=steps,
        gains={name: gain for name, gain in changed.items() if gain},
        gain=mean_dice(found.table) - mean_dice(table) if steps else None,
        expected_gain=found.expected_gain if steps else None,
    )
    return record, found.table


def _groups(dataset: Dataset) -> list[tuple[str, ...]]:
    """Divide the classes into groups without common voxels, which are cleaned in one pass; outer regions come first."""
    ordered = dict(sorted(dataset.classes.items(), key=lambda item: -len(item[1])))
    return [tuple(group) for group in disjoint_groups(ordered)]


def _try_one_object(
    held_out: HeldOut, before: Improved, *, executor: CaseExecutor | None, progress: Progress | None
) -> Improved:
    """Keep only the largest component of the whole foreground, if this improves the leave-one-out Dice."""
    if len(held_out.dataset.values) < 2:
        return before  # With one class, the search for each class tries the same.
    after = replace(before.recipe, steps=(ONE_OBJECT,))
    (table,) = dice_of(held_out, [after], what="trying one object", executor=executor, progress=progress)
    expected = mean_dice(chosen_by_others(before.table, table)) - mean_dice(before.table)
    return Improved(after, table, expected) if expected >= SMALLEST_GAIN else before


def _try_classes(
    held_out: HeldOut,
    group: Sequence[str],
    before: Improved,
    *,
    executor: CaseExecutor | None,
    progress: Progress | None,
) -> Improved:
    """Clean each class of a group in its best way, if all changes together improve the mean Dice."""
    work = partial(_components_of_case, recipe=before.recipe, group=tuple(group))
    measured = over_cases(
        work, held_out, [before.recipe], what="examining components", executor=executor, progress=progress
    )
    cleanings = {name: find_cleaning([case[name] for case in measured if name in case]) for name in group}
    kept = {name: found for name, found in cleanings.items() if found.expected_gain >= SMALLEST_GAIN}
    if not kept:
        return before
    after = replace(before.recipe, steps=(*before.recipe.steps, *_steps(kept)))
    (table,) = dice_of(held_out, [after], what="trying post-processing", executor=executor, progress=progress)
    # Cleaning a region also changes the regions that it overlaps, so test the result of all changes.
    if mean_dice(table) - mean_dice(before.table) < SMALLEST_GAIN / len(held_out.dataset.classes):
        return before
    expected = sum(found.expected_gain for found in kept.values()) / len(held_out.dataset.classes)
    return Improved(after, table, before.expected_gain + expected)


def _steps(cleanings: Mapping[str, Found]) -> list[Component]:
    return [step for name, found in cleanings.items() for step in found.cleaning.steps(name)]


def _components_of_case(
    held_out: HeldOut, case: str, *, recipe: Recipe, group: Sequence[str]
) -> dict[str, tuple[Components, Components]]:
    """Measure the components of each annotated class of a case: as predicted, and with holes filled."""
    dataset = held_out.dataset
    labels, reference = predicted(held_out, case, recipe), held_out.reference(case)
    spacing = held_out.preprocessing(case, recipe.configurations[0]).geometry.spacing
    known = ~np.isin(reference, dataset.ignore) if dataset.ignore else None
    voxel_mm3 = float(np.prod(spacing))
    annotated = dataset.annotated_classes(case)
    found = {}
    for name in group:
        if name not in annotated:
            continue
        target = find_target(dataset, name)
        filled = FillHoles(target).fill(labels)
        plain = measure_components(labels, reference, target, known=known, voxel_mm3=voxel_mm3)
        same = filled is labels
        whole = plain if same else measure_components(filled, reference, target, known=known, voxel_mm3=voxel_mm3)
        found[name] = (plain, whole)
    return found
