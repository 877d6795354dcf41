"""Which loss suits the labels of a dataset."""

from __future__ import annotations

from autoseg.dataset import IGNORED, Dataset
from autoseg.plan import Component


def objective(dataset: Dataset, *, batch_dice: bool) -> Component:
    """Choose soft Dice with cross-entropy for classes, with binary cross-entropy for regions that may overlap."""
    name = "dice_binary_cross_entropy" if dataset.regions else "dice_cross_entropy"
    return labelled({"name": name, "batch_dice": batch_dice}, dataset)


def labelled(loss: Component, dataset: Dataset) -> Component:
    """Tell a loss which regions there are, and what counts nowhere."""
    regions = [list(members) for members in dataset.class_indices.values()] if dataset.regions else None
    return {
        **loss,
        **({"regions": regions} if regions else {}),
        **({"ignore_index": IGNORED} if dataset.ignore else {}),
    }
