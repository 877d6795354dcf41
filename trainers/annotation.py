"""Which outputs of a network the label maps of cases say something of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autoseg.dataset import Dataset


def annotation_table(dataset: Dataset, cases: Sequence[str]) -> np.ndarray | None:
    """Tell which outputs were annotated in each of some cases, [cases,outputs] bool; None where all were in all.

    The background, the first output where classes exclude each other, counts as annotated.
    """
    if not any(case in dataset.annotated for case in cases):
        return None
    background = [] if dataset.regions else [True]
    annotated = [dataset.annotated_classes(case) for case in cases]
    return np.array([[*background, *(name in classes for name in dataset.classes)] for classes in annotated])
