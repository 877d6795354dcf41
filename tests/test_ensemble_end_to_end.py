"""An ensemble of several networks, from data to predictions."""

from __future__ import annotations

import json

import pytest

import autoseg
from autoseg.cli.main import main
from autoseg.preprocessing import run as preprocessing


def command(*words):
    with pytest.raises(SystemExit) as exit_:
        main([str(word) for word in words])
    return exit_.value.code or 0


@pytest.mark.slow
def test_two_members_from_data_to_predictions(phantoms, tmp_path, shrink_plan, monkeypatch, capfd):
    read = []

    def counted(case, channels):
        read.append(case.name)
        return real(case, channels)

    real = preprocessing.read_case
    monkeypatch.setattr(preprocessing, "read_case", counted)
    work, members = tmp_path / "work", ("--members", "fcn/bias,unet_sum/z_score")
    asked = ("-w", work, *members, "--time-budget", "10m", "--workers", 0, "--folds", 2, "--device", "cpu")
    assert command("plan-and-preprocess", phantoms, *asked) == 0
    assert len(read) == 6, "each case is read once for both normalizations"
    assert len(list((work / "preprocessed").iterdir())) == 2
    shrink_plan(work / "plan.json")
    run = ("run", phantoms, *asked, "--iterations", 2)
    assert command("train-fold", work, "3d_unet_sum", 1, "--iterations", 2, "--device", "cpu", "--workers", 0) == 0
    assert command(*run) == 0
    before = (work / "models/3d_unet_sum/supervised/fold_1/model.safetensors").stat().st_mtime_ns
    chosen = json.loads((work / "ensemble.json").read_text())
    assert {*chosen["configurations"], *chosen["left_out"]} == {"3d_unet_sum", "3d_fcn_bias"}
    assert command(*run) == 0
    assert (work / "models/3d_unet_sum/supervised/fold_1/model.safetensors").stat().st_mtime_ns == before
    assert command("choose", work, "--dice-margin", 1, "--no-predict") == 0
    assert len(json.loads((work / "ensemble.json").read_text())["configurations"]) == 2
    result = autoseg.predict_folder(work, phantoms / "imagesTs", tmp_path / "out")
    assert len(result.done) == 2 and not result.failed
    made_by = json.loads((tmp_path / "out" / "prediction.json").read_text())["members"]
    assert made_by == {"3d_unet_sum": 2, "3d_fcn_bias": 2}
