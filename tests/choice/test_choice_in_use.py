"""What was chosen is what predicts: real networks of two steps, from the command line."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

import autoseg
from autoseg.bundle.writing import export_bundle
from autoseg.choice import choose
from autoseg.cli.main import main
from autoseg.images.volumes import read_labels, read_volume
from autoseg.inference.ensemble import read_ensemble
from autoseg.postprocessing import apply_steps, build_steps
from autoseg.workspace.paths import Workspace


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
    assert used["postprocessing"] == list(ensemble.postprocessing.steps)


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


def change_postprocessing(place, steps):
    ensemble = json.loads(place.ensemble_file.read_text())
    place.ensemble_file.write_text(json.dumps(ensemble | {"postprocessing": {"steps": list(steps)}}))


def test_steps_are_applied_unless_one_says_no(trained, phantoms, tmp_path):
    choose(trained, predict=False, workers=0)
    place = Workspace(trained)
    steps = [{"name": "remove_small", "of": "body", "mm3": 200.0}]
    change_postprocessing(place, steps)
    autoseg.predict_folder(trained, phantoms / "imagesTs", tmp_path / "with")
    autoseg.predict_folder(trained, phantoms / "imagesTs", tmp_path / "without", postprocessing=False)
    changed = 0
    for path in (tmp_path / "without").glob("*.nii.gz"):
        labels, geometry = read_labels(path)
        finished = read_labels(tmp_path / "with" / path.name)[0]
        expected = apply_steps(build_steps(steps, place.dataset()), SimpleNamespace(spacing=geometry.spacing), labels)
        assert np.array_equal(finished, expected)
        changed += not np.array_equal(finished, labels)
    assert changed and settings_of(tmp_path / "without")["postprocessing"] == []


def test_steps_are_for_the_configurations_that_they_were_found_for(trained):
    choose(trained, predict=False, workers=0)
    place = Workspace(trained)
    steps = [{"name": "largest_component"}]
    place.ensemble_file.write_text(json.dumps({"configurations": ["2d"], "postprocessing": {"steps": steps}}))
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
    assert bool(predictor.members[0].tiling.mirror_axes) == expected


def test_a_prediction_goes_on_only_with_the_same_finish(trained, phantoms, tmp_path, capfd):
    choose(trained, predict=False, workers=0)
    autoseg.predict_folder(trained, phantoms / "imagesTs", tmp_path / "out")
    place = Workspace(trained)
    found = read_ensemble(place, place.plan()).postprocessing.steps
    change_postprocessing(place, [{"name": "largest_component"}, *found])
    status, said = run(capfd, "predict-folder", trained, phantoms / "imagesTs", tmp_path / "out")
    assert status == 2 and "made with another postprocessing" in said


FAULTS = {
    "an unknown decoder": ({"decoder": {"name": "argmin"}}, "field 'decoder': .*found 'argmin'"),
    "a mirror that is a word": ({"mirror": "perhaps"}, "field 'mirror', found 'perhaps'"),
    "an unknown step": ({"postprocessing": {"steps": [{"name": "melt"}]}}, "'postprocessing.steps': .*found 'melt'"),
    "a step that is a word": ({"postprocessing": {"steps": ["melt"]}}, "'postprocessing.steps.0', found 'melt'"),
    "an unknown field": ({"postprocessing": {"stepz": []}}, "field 'postprocessing.stepz'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_edited_file_is_read_strictly(fault, trained, phantoms, tmp_path, capfd):
    change, message = FAULTS[fault]
    choose(trained, predict=False, workers=0)
    path = trained / "ensemble.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    status, said = run(capfd, "predict-folder", trained, phantoms / "imagesTs", tmp_path / "out")
    assert status == 2 and re.search(f"ensemble.json: .*{message}", said), said
    assert not (tmp_path / "out").exists()


def test_a_bundle_predicts_as_its_workspace_does(trained, phantoms, tmp_path):
    choose(trained, predict=False, workers=0)
    export_bundle(trained, tmp_path / "bundle.zip")
    volume = read_volume(sorted((phantoms / "imagesTs").glob("phantom_006_*")))
    assert autoseg.Predictor.load(tmp_path / "bundle.zip").finish == autoseg.Predictor.load(trained).finish
    assert np.array_equal(
        autoseg.Predictor.load(tmp_path / "bundle.zip").predict(volume), autoseg.Predictor.load(trained).predict(volume)
    )
