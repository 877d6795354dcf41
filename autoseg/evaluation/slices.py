"""Dice of each slice, for 2D segmentation and for comparison with 2D methods."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoseg.evaluation.counting import LabelMap, count_voxels, disjoint_groups, numbered_pair
from autoseg.evaluation.metrics import check_pair
from autoseg.evaluation.overlap import ratio
from autoseg.evaluation.settings import EMPTY_SCORES
from autoseg.files.storage import write_text


@dataclass(frozen=True)
class SliceDice:
    """Dice of one slice and its voxel counts. ``slice`` is the index along the first axis [Z,Y,X], from 0."""

    slice: int
    dice: float
    true_positives: int
    false_positives: int
    false_negatives: int


CaseSlices = dict[str, list[SliceDice]]


def measure_slices(
    prediction: LabelMap,
    reference: LabelMap,
    *,
    classes: Mapping[str, Sequence[int]],
    ignore: Sequence[int] = (),
    empty: str = "nan",
) -> CaseSlices:
    """Return, for each class, the Dice of all slices [Y,X] of two label maps [Z,Y,X] where it is defined.

    ``empty`` is the rule for slices where the class is absent in the reference, one of
    :data:`autoseg.evaluation.settings.EMPTY_SCORES`.
    """
    check_pair(prediction, reference)
    ignored = np.isin(reference, ignore) if ignore else None
    found: CaseSlices = {}
    for group in disjoint_groups(classes):
        pair = numbered_pair(prediction, reference, group, ignored=ignored)
        counts = count_voxels(*pair, classes=len(group)).tolist()
        for number, name in enumerate(group, start=1):
            scored = (_score(index, [row[number] for row in rows], empty) for index, rows in enumerate(counts))
            found[name] = [score for score in scored if not np.isnan(score.dice)]
    return {name: found[name] for name in classes}


def _score(index: int, counts: Sequence[int], empty: str) -> SliceDice:
    both, predicted, expected = counts
    dice = ratio(2 * both, predicted + expected)
    if not expected:
        score = EMPTY_SCORES[empty][1 if predicted else 0]
        dice = dice if score is None else score
    return SliceDice(index, dice, both, predicted - both, expected - both)


def write_slices_csv(path: Path, cases: Mapping[str, CaseSlices]) -> None:
    """Write one row for each case, class and slice where Dice is defined."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("case", "class", "slice", "dice", "true_positives", "false_positives", "false_negatives"))
    for case, classes in cases.items():
        for name, rows in classes.items():
            writer.writerows((case, name, *vars(row).values()) for row in rows)
    write_text(path, text.getvalue())
