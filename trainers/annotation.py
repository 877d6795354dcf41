"""Which outputs of a network the label maps of cases say something of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autoseg.balanced_sampling import class_holders
from autoseg.dataset import Dataset
from autoseg.preprocessing.store import read_case_record
from autoseg.sampling import Holders
from autoseg.trainers.loader import Cases


def annotation_table(dataset: Dataset, cases: Sequence[str]) -> np.ndarray | None:
    """Tell which outputs were annotated in each of some cases, [cases,outputs] bool; None where all were in all.

    The background, the first output where classes exclude each other, counts as annotated.
    """
    if not any(case in dataset.annotated for case in cases):
        return None
    background = [] if dataset.regions else [True]
    annotated = [dataset.annotated_classes(case) for case in cases]
    return np.array([[*background, *(name in classes for name in dataset.classes)] for classes in annotated])


def stored_holders(dataset: Dataset, cases: Cases) -> Holders:
    """Return which of the preprocessed cases have voxels of each class that was annotated in them."""
    voxels = [read_case_record(cases.folder, name).class_voxels for name in cases.names]
    return class_holders(dataset, cases.names, voxels)
