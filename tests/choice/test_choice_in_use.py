"""What was chosen is what predicts: real networks of two steps, from the command line."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

import autoseg
from autoseg.bundle.writing import export_bundle
from autoseg.choice import choose
from autoseg.cli.main import main
from autoseg.images import read_labels, read_volume
from autoseg.inference.members import read_ensemble
from autoseg.postprocessing import apply_steps, build_steps
from autoseg.workspace import Workspace


def run(capfd, *words):
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    return stopped.value.code, " ".join("".join(capfd.readouterr()).split())


def settings_of(folder):
    return json.loads((folder / "prediction.json").read_text())


def test_the_command_chooses_and_prediction_follows(trained, phantoms, tmp_path, capfd):
    status, said = run(capfd, "choose", trained, "--tta", "--no-predict")
    assert status == 2 and "held out by" in said and "make them with 'autoseg choose" in said
    status, said = run(capfd, "choose", trained, "--tta", "--workers", 0)
    assert status == 0, said
    for words in ("held-out cases: 2, of fold 0", "2d + 3d_fullres", "mirrored copies:", "s a case"):
        assert words in said
    place = Workspace(trained)
    ensemble = read_ensemble(place, place.plan())
    assert ensemble.mirror is not None
    autoseg.predict_folder(trained, phantoms / "imagesTs", tmp_path / "out")
    used = settings_of(tmp_path / "out")
    assert tuple(used["members"]) == ensemble.configurations and used["mirror"] == ensemble.mirror
    assert used["decoder"] == ensemble.decoder
    assert used["postprocessing"] == json.loads(place.postprocessing_file.read_text())["steps"]


def test_training_leaves_the_probabilities(trained):
    found = choose(trained, predict=False, workers=0)
    assert found.cases == 2 and {result.configurations for result in found.results} == {
        ("2d",),
        ("3d_fullres",),
        ("2d", "3d_fullres"),
    }
    place = Workspace(trained)
    summary = json.loads(place.fold("2d", 0).summary.read_text())
    # As bytes, probabilities decide hardly a voxel otherwise.
    assert found.results[0].dice == pytest.approx(summary["mean_dice"], abs=0.01)


def test_probabilities_are_made_where_they_are_missing(trained):
    before = choose(trained, predict=False, workers=0)
    for file in Workspace(trained).fold("2d", 0).validation.glob("probabilities/*"):
        file.unlink()
    assert choose(trained, device="cpu", workers=0) == before


def test_steps_are_applied_unless_one_says_no(trained, phantoms, tmp_path):
    choose(trained, predict=False, workers=0)
    place = Workspace(trained)
    steps = [{"name": "remove_small", "of": "body", "mm3": 200.0}]
    record = json.loads(place.postprocessing_file.read_text()) | {"steps": steps}
    place.postprocessing_file.write_text(json.dumps(record))
    autoseg.predict_folder(trained, phantoms / "imagesTs", tmp_path / "with")
    autoseg.predict_folder(trained, phantoms / "imagesTs", tmp_path / "without", postprocessing=False)
    changed = 0
    for path in (tmp_path / "without").glob("*.nii.gz"):
        labels, geometry = read_labels(path)
        finished = read_labels(tmp_path / "with" / path.name)[0]
        expected = apply_steps(build_steps(steps, place.dataset()), labels, geometry.spacing)
        assert np.array_equal(finished, expected)
        changed += not np.array_equal(finished, labels)
    assert changed and settings_of(tmp_path / "without")["postprocessing"] == []


def test_steps_are_for_the_configurations_that_they_were_found_for(trained):
    choose(trained, predict=False, workers=0)
    place = Workspace(trained)
    record = json.loads(place.postprocessing_file.read_text())
    steps = [{"name": "largest_component"}]
    place.postprocessing_file.write_text(json.dumps(record | {"steps": steps, "configurations": ["2d"]}))
    place.ensemble_file.write_text(json.dumps({"configurations": ["2d"]}))
    assert autoseg.Predictor.load(trained).finish.steps == tuple(steps)
    assert autoseg.Predictor.load(trained, configurations=["3d_fullres"]).finish.steps == ()


@pytest.mark.parametrize(
    ("chosen", "tta", "expected"),
    [(False, "auto", False), (None, "auto", True), (False, "mirror", True), (True, "none", False)],
)
def test_auto_mirrors_as_was_found_worth_it(chosen, tta, expected, trained):
    (trained / "ensemble.json").write_text(json.dumps({"configurations": ["2d"], "mirror": chosen}))
    predictor = autoseg.Predictor.load(trained, tta=tta)
    assert predictor.mirror == expected
    assert bool(predictor.members[0].window.mirror_axes) == expected


def test_a_prediction_goes_on_only_with_the_same_finish(trained, phantoms, tmp_path, capfd):
    choose(trained, predict=False, workers=0)
    autoseg.predict_folder(trained, phantoms / "imagesTs", tmp_path / "out")
    place = Workspace(trained)
    record = json.loads(place.postprocessing_file.read_text())
    place.postprocessing_file.write_text(
        json.dumps(record | {"steps": [{"name": "largest_component"}, *record["steps"]]})
    )
    status, said = run(capfd, "predict-folder", trained, phantoms / "imagesTs", tmp_path / "out")
    assert status == 2 and "made with another postprocessing" in said


FAULTS = {
    "an unknown decoder": ("ensemble.json", {"decoder": {"name": "argmin"}}, "field 'decoder': .*found 'argmin'"),
    "a mirror that is a word": ("ensemble.json", {"mirror": "perhaps"}, "field 'mirror', found 'perhaps'"),
    "an unknown step": ("postprocessing.json", {"steps": [{"name": "melt"}]}, "field 'steps': .*found 'melt'"),
    "a step that is a word": ("postprocessing.json", {"steps": ["melt"]}, "field 'steps.0', found 'melt'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_edited_files_are_read_strictly(fault, trained, phantoms, tmp_path, capfd):
    name, change, message = FAULTS[fault]
    choose(trained, predict=False, workers=0)
    path = trained / name
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    status, said = run(capfd, "predict-folder", trained, phantoms / "imagesTs", tmp_path / "out")
    assert status == 2 and re.search(f"{name}: {message}", said), said
    assert not (tmp_path / "out").exists()


def test_a_bundle_predicts_as_its_workspace_does(trained, phantoms, tmp_path):
    choose(trained, predict=False, workers=0)
    export_bundle(trained, tmp_path / "bundle.zip")
    volume = read_volume(sorted((phantoms / "imagesTs").glob("phantom_006_*")))
    assert autoseg.Predictor.load(tmp_path / "bundle.zip").finish == autoseg.Predictor.load(trained).finish
    assert np.array_equal(
        autoseg.Predictor.load(tmp_path / "bundle.zip").predict(volume), autoseg.Predictor.load(trained).predict(volume)
    )
