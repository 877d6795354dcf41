"""A cascade from the command that trains it to a folder of label maps."""

from __future__ import annotations

import json

import numpy as np
import pytest

import autoseg
from autoseg.cli.run import train_all
from autoseg.errors import WeightsError
from autoseg.evaluation.folder import evaluate_folder
from autoseg.images.volumes import read_volume
from autoseg.inference import predictor as predicting
from autoseg.preprocessing.previous_stage import labels_on_grid

STAGE, CASCADE = "3d_lowres", "3d_cascade_fullres"


def test_a_folder_is_predicted_through_both_stages(cascade, made_once, tmp_path):
    phantoms = made_once / "phantoms"
    result = autoseg.predict_folder(cascade.root, phantoms / "imagesTs", tmp_path / "out", configurations=[CASCADE])
    assert len(result.done) == 2 and not result.failed
    said = json.loads((tmp_path / "out" / "prediction.json").read_text())
    assert said["members"] == {CASCADE: 2} and said["previous stages"] == {STAGE: 2}
    summary = evaluate_folder(tmp_path / "out", phantoms / "labelsTs")
    assert len(summary.cases) == 2 and 0 <= summary.mean_dice <= 1


def test_both_stages_are_computed_once_for_an_ensemble_of_them(cascade_once, made_once, monkeypatch):
    calls = []

    def counted(networks, image, window, device, **options):
        calls.append((len(image), window.previous_labels))
        return real(networks, image, window, device, **options)

    real = predicting.predict_probabilities
    monkeypatch.setattr(predicting, "predict_probabilities", counted)
    volume = read_volume(sorted((made_once / "phantoms" / "imagesTs").glob("phantom_006_*")))
    predictor = autoseg.Predictor.load(cascade_once.root, configurations=[CASCADE, STAGE], tta="none")
    scores = predictor.scores(predictor.prepare(volume))
    assert calls == [(2, 0), (3, 2)], "the first stage reads two channels, the second its label map as well"
    alone = autoseg.Predictor.load(cascade_once.root, configurations=[STAGE], tta="none")
    assert np.array_equal(scores[0].probabilities, alone.scores(alone.prepare(volume))[0].probabilities)


def test_prediction_reads_what_training_would_have_read(cascade_once, made_once, monkeypatch):
    read = []

    def kept(networks, image, window, device, **options):
        read.append(image)
        return real(networks, image, window, device, **options)

    real = predicting.predict_probabilities
    monkeypatch.setattr(predicting, "predict_probabilities", kept)
    volume = read_volume(sorted((made_once / "phantoms" / "imagesTs").glob("phantom_006_*")))
    predictor = autoseg.Predictor.load(cascade_once.root, configurations=[CASCADE])
    preprocessing = predictor.prepare(volume)[1].preprocessing
    first = autoseg.Predictor.load(cascade_once.root, configurations=[STAGE]).predict(volume)
    predictor.predict(volume)
    assert np.array_equal(read[-1][-1], labels_on_grid(first, preprocessing, cascade_once.dataset()))


def test_named_folds_are_those_of_the_cascade(cascade_once):
    predictor = autoseg.Predictor.load(cascade_once.root, configurations=[CASCADE], folds=[1], best=True)
    (member,) = predictor.members
    assert len(member.networks) == 1 and len(member.previous.networks) == 2
    assert [stage.name for stage in predictor.stages] == [STAGE, CASCADE]


def test_prediction_needs_every_fold_of_the_first_stage(cascade):
    cascade.fold(STAGE, 1).model.unlink()
    with pytest.raises(WeightsError, match=f"found no trained fold 1, expected all folds, because {CASCADE} reads"):
        autoseg.Predictor.load(cascade.root, configurations=[CASCADE])


@pytest.mark.slow
def test_a_cascade_may_follow_a_cascade_and_slices_a_volume(cascade, made_once):
    plan = json.loads(cascade.plan_file.read_text())
    plan["configurations"]["2d"]["previous_stage"] = CASCADE
    cascade.plan_file.write_text(json.dumps(plan))
    assert autoseg.train_fold(cascade.root, "2d", 0, iterations=1).cases
    predictor = autoseg.Predictor.load(cascade.root, configurations=["2d", CASCADE])
    assert [stage.name for stage in predictor.stages] == [STAGE, CASCADE, "2d"]
    volume = read_volume(sorted((made_once / "phantoms" / "imagesTs").glob("phantom_006_*")))
    assert predictor.predict(volume).shape == volume.array.shape[1:]


def test_run_trains_the_first_stage_in_every_fold_before_the_cascade(planned):
    plan = json.loads(planned.plan_file.read_text())
    plan["configurations"] = {name: plan["configurations"][name] for name in (CASCADE, STAGE)}
    planned.plan_file.write_text(json.dumps(plan))
    assert train_all(planned.root, iterations=1) == 0
    assert all(planned.fold(name, fold).summary.exists() for name in (CASCADE, STAGE) for fold in (0, 1))
