from __future__ import annotations

import math

import numpy as np
from PIL import Image

from autoseg.evaluation.metrics import evaluate_case
from autoseg.evaluation.summary import summarize
from autoseg.learning.validation.previews import BEST, WORST, chosen_cases
from autoseg.workspace.paths import Workspace


def metrics(dice):
    """Metrics of a class with about this Dice; of one that is nowhere for None."""
    reference = np.zeros((1, 1, 100), np.uint8)
    prediction = reference.copy()
    if dice is not None:
        reference[..., :50] = 1
        prediction[..., round(50 * (1 - dice)) : round(50 * (1 - dice)) + 50] = 1
    return evaluate_case(prediction, reference, spacing=(1.0, 1.0, 1.0), classes={"a": (1,)})


def test_the_worst_and_the_best_are_drawn_each_once():
    summary = summarize({f"c{i}": metrics(dice) for i, dice in enumerate([0.9, 0.1, None, 0.5, 0.7, 0.3, 0.8, 0.2])})
    assert chosen_cases(summary) == ["c1", "c7", "c5", "c6", "c0"]
    assert WORST + BEST == 5
    few = summarize({"x": metrics(0.4), "y": metrics(0.2)})
    assert chosen_cases(few) == ["y", "x"]
    assert chosen_cases(summarize({"x": metrics(None)})) == []
    assert math.isnan(metrics(None)["a"].dice)


def test_validation_leaves_pictures(trained):
    pictures = sorted(Workspace(trained).fold("3d_fullres", 0).previews.glob("*.png"))
    assert len(pictures) == 2
    for path in pictures:
        with Image.open(path) as picture:
            assert picture.width > 300 and np.asarray(picture.convert("RGB")).std() > 10
