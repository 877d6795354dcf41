"""Divide the cases of a dataset into the folds of a workspace."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from autoseg.data.dataset import Dataset
from autoseg.data.kinds import cases_of, labelled
from autoseg.data.splits import Fold, grouped, kfold, stratified, with_others, write_splits
from autoseg.errors import DatasetError, PlanError
from autoseg.fingerprint.record import Fingerprint
from autoseg.workspace.paths import Workspace

logger = logging.getLogger("autoseg")


def divide_cases(dataset: Dataset, fingerprint: Fingerprint, workspace: Workspace, *, kind: str, folds: int) -> None:
    """Write the folds to splits.json, unless the file exists: the user may have written it.

    The labelled cases are divided first; each fold then gets an equal share of the tagged and of the unlabelled cases.
    """
    names = [case.name for case in dataset.cases]
    if workspace.splits_file.exists():
        placed = {name for split in workspace.splits() for name in (*split.train, *split.val)}
        if set(names) - placed:
            left = sorted(set(names) - placed)
            logger.warning(
                "%s: %d cases are in no fold, such as %s; add them to train or val, or remove the file to divide all "
                "cases again",
                workspace.splits_file,
                len(left),
                left[0],
            )
        return
    measured = labelled(dataset)
    if len(measured) < folds:
        what = "cases" if len(measured) == len(names) else "labelled cases"
        logger.warning("%d %s are fewer than %d folds: making %d folds", len(measured), what, folds, len(measured))
    splits = _labelled_folds(measured, dataset, fingerprint, kind=kind, folds=folds)
    others = [cases_of(dataset, names, "tagged"), cases_of(dataset, names, "unlabelled")]
    if any(others):
        splits = with_others(splits, others, None if kind == "stratified" else dataset.groups)
    write_splits(workspace.splits_file, splits)


def _labelled_folds(
    names: Sequence[str], dataset: Dataset, fingerprint: Fingerprint, *, kind: str, folds: int
) -> list[Fold]:
    """Divide the labelled cases ``names`` by the rule ``kind``."""
    if kind == "group" and not dataset.groups:
        raise DatasetError(
            "splits 'group': dataset.json has no 'groups', expected an object that maps case names to group names"
        )
    if kind == "stratified":
        strata = {case.name: _stratum(case.class_voxels) for case in fingerprint.cases}
        return stratified(names, strata, folds)
    if kind not in ("kfold", "group"):
        raise PlanError(f"splits '{kind}': expected kfold, group or stratified")
    return grouped(names, dataset.groups, folds) if dataset.groups else kfold(names, folds)


def _stratum(class_voxels: dict[str, int]) -> tuple[object, ...]:
    """Return the stratum of a case: the classes that it contains, then its number of foreground voxels."""
    return tuple(count > 0 for count in class_voxels.values()), sum(class_voxels.values())
