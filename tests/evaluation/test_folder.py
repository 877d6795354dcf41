from __future__ import annotations

import json
import logging
import math

import numpy as np
import pytest

from autoseg.errors import DatasetError, ImageError
from autoseg.evaluation.folder import evaluate_folder
from autoseg.images.geometry import Geometry
from autoseg.images.volumes import write_labels


def write(folder, name, array, spacing=(2.0, 1.0, 1.0)):
    folder.mkdir(exist_ok=True)
    array = np.asarray(array, np.uint8)
    write_labels(folder / name, array, Geometry(array.shape, spacing, (0.0, 0.0, 0.0), tuple(np.eye(3).ravel())))


def cube(start, value=1):
    array = np.zeros((4, 10, 10), np.uint8)
    array[1:3, start : start + 4, 2:6] = value
    return array


@pytest.fixture
def folders(tmp_path):
    predictions, reference = tmp_path / "predictions", tmp_path / "reference"
    write(reference, "a.nii.gz", cube(2))
    write(reference, "b.nii.gz", cube(2, 3))
    write(predictions, "a.nii.gz", cube(2))
    write(predictions, "b.nii.gz", cube(4, 3))
    return predictions, reference


def test_every_case_is_measured_against_its_namesake(folders):
    begun, done = [], []

    def progress(description, count):
        begun.append((description, count))
        return done.append

    summary = evaluate_folder(*folders, progress=progress)
    assert sorted(summary.cases) == ["a", "b"]
    assert summary.cases["a"]["label_1"].dice == 1
    assert summary.cases["b"]["label_3"].dice == 0.5
    assert summary.cases["b"]["label_3"].hd95 == pytest.approx(2.0)
    assert math.isnan(summary.cases["a"]["label_3"].dice)
    assert summary.mean_dice == 0.75
    assert begun == [("finding classes", 2), ("evaluating", 2)]
    assert sorted(done) == ["a", "a", "b", "b"]


def test_classes_may_be_those_of_a_dataset(folders, tmp_path):
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({"labels": {"background": 0, "organ": 1}}))
    summary = evaluate_folder(*folders, dataset=path)
    assert list(summary.classes) == ["organ"]
    assert summary.mean_dice == 1


def test_formats_need_not_be_the_same(folders):
    predictions, reference = folders
    (predictions / "a.nii.gz").unlink()
    write(predictions, "a.nrrd", cube(2))
    assert evaluate_folder(predictions, reference).cases["a"]["label_1"].dice == 1


def test_other_files_do_not_matter(folders):
    (folders[0] / "summary.json").write_text("{}")
    (folders[0] / "._a.nii.gz").touch()
    assert len(evaluate_folder(*folders).cases) == 2


def test_a_missing_prediction_is_a_warning(folders, caplog):
    (folders[0] / "b.nii.gz").unlink()
    with caplog.at_level(logging.WARNING):
        summary = evaluate_folder(*folders)
    assert list(summary.cases) == ["a"]
    assert "1 references have no prediction, such as b" in caplog.text


def test_a_missing_reference_is_an_error(folders):
    (folders[1] / "b.nii.gz").unlink()
    with pytest.raises(DatasetError, match=r"b\.nii\.gz: found no reference with this name"):
        evaluate_folder(*folders)


def test_two_predictions_of_one_case(folders):
    write(folders[0], "a.nrrd", cube(2))
    with pytest.raises(DatasetError, match=r"found a second file of case 'a', the first is a\.nii\.gz"):
        evaluate_folder(*folders)


def test_another_grid_is_an_error(folders):
    write(folders[0], "a.nii.gz", cube(2), spacing=(3.0, 1.0, 1.0))
    with pytest.raises(ImageError, match=r"a\.nii\.gz: does not lie on the grid of .*spacing"):
        evaluate_folder(*folders)


def test_nothing_to_measure(folders, tmp_path):
    predictions, reference = folders
    with pytest.raises(DatasetError, match="no such folder"):
        evaluate_folder(tmp_path / "missing_channels", reference)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="found no label maps"):
        evaluate_folder(tmp_path / "empty", reference)
    for name in ("a", "b"):
        write(reference, f"{name}.nii.gz", cube(2, 0))
    with pytest.raises(DatasetError, match="only background"):
        evaluate_folder(predictions, reference)
