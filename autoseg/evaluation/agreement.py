"""Agreement between several label maps of one image: a quality estimate without a reference."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from autoseg.evaluation.counting import count_voxels, disjoint_groups, numbered_pair
from autoseg.evaluation.metrics import check_pair
from autoseg.evaluation.overlap import NAN


def agreement(label_maps: Sequence[np.ndarray], classes: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """Return the mean Dice of all pairs of ``label_maps`` [Z,Y,X] for each of ``classes`` (name to label values).

    Classes may overlap. A pair in which neither map contains a class is left out for this class. The result is NaN if
    no pair is left, or if there is only one map.

    The pairwise Dice of Monte Carlo samples correlates with the Dice against the reference: Roy, Conjeti, Navab and
    Wachinger, Inherent brain segmentation quality control from fully ConvNet Monte Carlo sampling, MICCAI 2018. Here
    independently trained networks replace the samples, as in Lakshminarayanan et al., NeurIPS 2017.
    """
    found: dict[str, list[float]] = {name: [] for name in classes}
    for first, second in itertools.combinations(label_maps, 2):
        check_pair(first, second)
        for group in disjoint_groups(classes):
            counts = count_voxels(*numbered_pair(first, second, group, ignored=None), classes=len(group)).sum(axis=0)
            for name, (both, one, other) in zip(group, counts.T[1:], strict=True):
                if one + other:
                    found[name].append(float(2 * both / (one + other)))
    return {name: float(np.mean(values)) if values else NAN for name, values in found.items()}
