"""Which loss suits the labels of a dataset."""

from __future__ import annotations

from autoseg.dataset import IGNORED, Dataset
from autoseg.plan import Component


def objective(dataset: Dataset, *, batch_dice: bool) -> Component:
    """Choose soft Dice with cross-entropy for classes, with binary cross-entropy for regions that may overlap."""
    arguments: Component = {"batch_dice": batch_dice}
    if dataset.ignore:
        arguments["ignore_index"] = IGNORED
    if dataset.regions:
        regions = [list(members) for members in dataset.class_indices.values()]
        return {"name": "dice_binary_cross_entropy", "regions": regions, **arguments}
    return {"name": "dice_cross_entropy", **arguments}
