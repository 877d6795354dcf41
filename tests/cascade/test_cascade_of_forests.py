"""Both stages of a cascade as random forests."""

from __future__ import annotations

import pytest

import autoseg
from autoseg.errors import TrainingError

STAGE, CASCADE = "3d_lowres", "3d_cascade_fullres"
FOREST = {"iterations": 2, "workers": 1}


def test_a_forest_reads_the_label_maps_of_one_before_it(planned, made_once, tmp_path, forest_plan):
    forest_plan(planned.plan_file)
    with pytest.raises(TrainingError, match=r"train first: autoseg train-fold .* 3d_lowres 0"):
        autoseg.train_fold(planned.root, CASCADE, 0, **FOREST)
    for fold in (0, 1):
        autoseg.train_fold(planned.root, STAGE, fold, **FOREST)
    assert autoseg.train_fold(planned.root, CASCADE, 0, **FOREST).mean_dice > 0.3
    images = made_once / "phantoms" / "imagesTs"
    result = autoseg.predict_folder(planned.root, images, tmp_path / "out", configurations=[CASCADE])
    assert len(result.done) == 2 and not result.failed
