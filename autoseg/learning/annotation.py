"""Classes that are annotated in each case, for partially annotated datasets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autoseg.data.dataset import Dataset
from autoseg.learning.cases import Cases, SomeCases
from autoseg.preprocessing.store import read_case_record
from autoseg.sampling.balanced import class_holders
from autoseg.sampling.stream import Holders


def annotation_table(dataset: Dataset, cases: Sequence[str]) -> np.ndarray | None:
    """Return which outputs are annotated in each case, [cases,outputs] bool; None if all are annotated in all cases.

    Where classes exclude each other, the first output is the background; it counts as annotated.
    """
    if not any(case in dataset.annotated for case in cases):
        return None
    background = [] if dataset.regions else [True]
    annotated = [dataset.annotated_classes(case) for case in cases]
    return np.array([[*background, *(name in classes for name in dataset.classes)] for classes in annotated])


def stored_holders(dataset: Dataset, cases: Cases | SomeCases) -> Holders:
    """Return, for each class, the preprocessed cases that contain voxels of it and in which it is annotated."""
    voxels = [read_case_record(cases.folder, name).class_voxels for name in cases.names]
    return class_holders(dataset, cases.names, voxels)
