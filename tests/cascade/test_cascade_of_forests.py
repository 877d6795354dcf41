"""Both stages of a cascade as random forests."""

from __future__ import annotations

import pytest

import autoseg
from autoseg.errors import TrainingError

STAGE, CASCADE = "3d_lowres", "3d_cascade_fullres"
FOREST = {"trainer": "random_forest", "iterations": 2, "workers": 1}


def test_a_forest_reads_the_label_maps_of_one_before_it(planned, made_once, tmp_path, monkeypatch):
    for name, value in {"FEATURES": 60, "VOXELS": 1500, "WATCHED": 600}.items():
        monkeypatch.setattr(f"autoseg.trainers.forest.training.{name}", value)
    with pytest.raises(TrainingError, match=r"3d_lowres.*--trainer random_forest"):
        autoseg.train_fold(planned.root, CASCADE, 0, **FOREST)
    for fold in (0, 1):
        autoseg.train_fold(planned.root, STAGE, fold, **FOREST)
    assert autoseg.train_fold(planned.root, CASCADE, 0, **FOREST).mean_dice > 0.3
    images = made_once / "phantoms" / "imagesTs"
    result = autoseg.predict_folder(
        planned.root, images, tmp_path / "out", configurations=[CASCADE], trainer="random_forest"
    )
    assert len(result.done) == 2 and not result.failed
