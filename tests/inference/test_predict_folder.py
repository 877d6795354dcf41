from __future__ import annotations

import json
import shutil

import blosc2
import numpy as np
import pytest
from PIL import Image

import autoseg
from autoseg.errors import DatasetError, WeightsError, WorkspaceError
from autoseg.images.volumes import read_geometry, read_labels, read_volume
from autoseg.workspace.paths import Workspace


def predict(trained, phantoms, output, **options):
    return autoseg.predict_folder(trained, phantoms / "imagesTs", output, **options)


def test_label_maps_lie_on_their_images_grid(trained, phantoms, tmp_path):
    result = predict(trained, phantoms, tmp_path / "out")
    assert result.done == ("phantom_006", "phantom_007") and not result.failed
    for name in result.done:
        image = phantoms / "imagesTs" / f"{name}_0000.nii.gz"
        assert read_geometry(tmp_path / "out" / f"{name}.nii.gz") == read_geometry(image)


def test_previews_are_drawn_where_they_are_asked_for(trained, phantoms, tmp_path):
    assert not (predict(trained, phantoms, tmp_path / "out", configurations=["2d"]).failed)
    assert not (tmp_path / "out" / "previews").exists()
    again = predict(trained, phantoms, tmp_path / "out", configurations=["2d"], preview=True)
    assert again.done == ("phantom_006", "phantom_007"), "what is not drawn yet is not done"
    pictures = sorted((tmp_path / "out" / "previews").iterdir())
    assert [path.name for path in pictures] == ["phantom_006.png", "phantom_007.png"]
    for path in pictures:
        with Image.open(path) as picture:
            assert picture.width > 300 and np.asarray(picture.convert("RGB")).std() > 10
    assert predict(trained, phantoms, tmp_path / "out", configurations=["2d"], preview=True).done == ()


def test_what_is_done_is_left_alone(trained, phantoms, tmp_path):
    predict(trained, phantoms, tmp_path / "out", configurations=["3d_fullres"])
    kept, removed = (tmp_path / "out" / f"phantom_00{i}.nii.gz" for i in (6, 7))
    before, content = kept.stat().st_mtime_ns, removed.read_bytes()
    removed.unlink()
    result = predict(trained, phantoms, tmp_path / "out", configurations=["3d_fullres"])
    assert result.done == ("phantom_007",) and result.skipped == ("phantom_006",)
    assert kept.stat().st_mtime_ns == before
    assert removed.read_bytes() == content


def test_predictions_of_something_else_are_not_mixed(trained, phantoms, tmp_path):
    predict(trained, phantoms, tmp_path / "out", configurations=["3d_fullres"])
    with pytest.raises(WorkspaceError, match="made with another members"):
        predict(trained, phantoms, tmp_path / "out", configurations=["2d"])
    predict(trained, phantoms, tmp_path / "out", configurations=["2d"], overwrite=True)


def test_predictions_of_another_trainer_are_not_taken_for_done(trained, phantoms, tmp_path):
    predict(trained, phantoms, tmp_path / "out", configurations=["3d_fullres"])
    models = trained / "models" / "3d_fullres"
    shutil.copytree(models / "supervised", models / "other")
    path = Workspace(trained).plan_file
    plan = json.loads(path.read_text())
    plan["configurations"]["3d_fullres"]["trainer"] = {"name": "other"}
    path.write_text(json.dumps(plan))
    with pytest.raises(WorkspaceError, match="made with another trainers"):
        predict(trained, phantoms, tmp_path / "out", configurations=["3d_fullres"])


def test_one_bad_case_does_not_stop_the_others(trained, phantoms, tmp_path):
    bad = phantoms / "imagesTs" / "phantom_006_0001.nii.gz"
    bad.write_bytes(bad.read_bytes()[:200])
    result = predict(trained, phantoms, tmp_path / "out")
    assert result.done == ("phantom_007",)
    assert "phantom_006_0001.nii.gz: not an image" in result.failed["phantom_006"]


def test_a_missing_channel_is_named(trained, phantoms, tmp_path):
    (phantoms / "imagesTs" / "phantom_006_0001.nii.gz").unlink()
    result = predict(trained, phantoms, tmp_path / "out")
    assert "found 1 channels, expected 2 (T1, T2)" in result.failed["phantom_006"]


@pytest.mark.parametrize("names", [["3d_fullres"], ["2d", "3d_fullres"]])
def test_probabilities_agree_with_the_label_map(trained, phantoms, tmp_path, names):
    predict(trained, phantoms, tmp_path / "out", configurations=names, save_probabilities=True)
    probabilities = blosc2.open(str(tmp_path / "out" / "phantom_006_probabilities.b2nd"))[:].astype(np.float32)
    labels, _ = read_labels(tmp_path / "out" / "phantom_006.nii.gz")
    top = np.sort(probabilities, axis=0)
    clear = top[-1] - top[-2] > 5e-3
    assert np.array_equal(probabilities.argmax(axis=0)[clear], labels[clear])


def test_arrays_in_memory_are_predicted_alike(trained, phantoms, tmp_path):
    predict(trained, phantoms, tmp_path / "out", configurations=["3d_fullres"], tta="none")
    files = sorted((phantoms / "imagesTs").glob("phantom_006_*"))
    volume = read_volume(files)
    predictor = autoseg.Predictor.load(trained, configurations=["3d_fullres"], tta="none")
    labels = predictor.predict_array(volume.array, spacing=volume.geometry.spacing)
    assert np.array_equal(labels, read_labels(tmp_path / "out" / "phantom_006.nii.gz")[0])
    _, probabilities = predictor.predict_array(volume.array, spacing=volume.geometry.spacing, probabilities=True)
    assert probabilities.shape == (3, *labels.shape)


def test_what_was_chosen_predicts(trained, phantoms, tmp_path):
    (trained / "ensemble.json").write_text(json.dumps({"configurations": ["2d"]}))
    predict(trained, phantoms, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "prediction.json").read_text())["members"] == {"2d": 1}


def test_nothing_trained_and_nothing_to_predict(workspace, trained, phantoms, tmp_path):
    with pytest.raises(WeightsError, match="no fold is trained; run 'autoseg train-fold' first"):
        predict(workspace, phantoms, tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="found no images"):
        autoseg.predict_folder(trained, tmp_path / "empty", tmp_path / "out")
    with pytest.raises(WeightsError, match="no such weights"):
        predict(trained, phantoms, tmp_path / "out", folds=[3], configurations=["2d"])
