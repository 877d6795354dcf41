"""The three commands, one after the other, as a user types them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from autoseg.images.volumes import read_geometry


def autoseg(*words):
    """Run a command in a process of its own; return what it printed."""
    command = [sys.executable, "-m", "autoseg", *map(str, words)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def three_commands(dataset, work, out, *, iterations, configuration="3d_fullres"):
    """Plan for one configuration, train one fold, predict and evaluate the images of its validation cases."""
    autoseg(
        "plan-and-preprocess", dataset, "-w", work, "-c", configuration, "--time-budget", "10m", "--speed", "reference"
    )
    autoseg("train-fold", work, configuration, 0, "--iterations", iterations)
    held_out = json.loads((work / "splits.json").read_text())[0]["val"]
    images, references = out / "images", out / "references"
    images.mkdir(parents=True)
    references.mkdir()
    for name in held_out:
        for path in (dataset / "imagesTr").glob(f"{name}_*"):
            shutil.copy(path, images)
        shutil.copy(dataset / "labelsTr" / f"{name}.nii.gz", references)
    autoseg("predict-folder", work, images, out / "predictions")
    autoseg("evaluate", out / "predictions", references, "--dataset", dataset / "dataset.json")
    for name in held_out:
        image = next(images.glob(f"{name}_0000*"))
        assert read_geometry(out / "predictions" / f"{name}.nii.gz") == read_geometry(image)
    trained = work / "models" / configuration / "supervised" / "fold_0" / "validation" / "summary.json"
    predicted = json.loads((out / "predictions" / "summary.json").read_text())
    # Predicting the validation images from their files gives what validation gave from the preprocessed cases.
    assert predicted["mean_dice"] == pytest.approx(json.loads(trained.read_text())["mean_dice"], abs=1e-4)
    return predicted["mean_dice"]


def test_phantoms(phantoms, tmp_path):
    assert three_commands(phantoms, tmp_path / "work", tmp_path / "out", iterations=20, configuration="2d") > 0.3


@pytest.mark.real_data
def test_ten_hippocampi(real_data, tmp_path):
    dataset = tmp_path / "hippocampus"
    for folder in ("imagesTr", "labelsTr"):
        (dataset / folder).mkdir(parents=True)
        for path in sorted((real_data / "hippocampus" / folder).iterdir())[:10]:
            shutil.copy(path, dataset / folder)
    shutil.copy(real_data / "hippocampus" / "dataset.json", dataset)
    assert three_commands(dataset, tmp_path / "work", tmp_path / "out", iterations=100) > 0.5


@pytest.mark.slow
def test_the_demo(tmp_path):
    said = autoseg("demo", tmp_path / "demo", "--iterations", 40)
    pictures = list((tmp_path / "demo" / "predictions").glob("*.png"))
    assert len(pictures) == 4 and all(path.read_bytes()[:4] == b"\x89PNG" for path in pictures)
    assert "mean Dice" in said
    summary = json.loads((tmp_path / "demo" / "predictions" / "summary.json").read_text())
    assert summary["mean_dice"] > 0.6
