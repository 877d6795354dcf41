"""A dataset of pictures is planned, trained and predicted like any other."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import autoseg
from autoseg.data.layouts import load_dataset, load_folders
from autoseg.plan.files import read_plan

SIZE = (40, 48)


def scene(rng):
    """A bright square on a noisy ground, in colours, and the mask of the square."""
    mask = np.zeros(SIZE, dtype=np.uint8)
    y, x = rng.integers(6, 30, 2)
    mask[y - 6 : y + 6, x - 6 : x + 6] = 1
    colours = rng.normal(100, 10, (*SIZE, 3)) + 80 * mask[..., None]
    return np.clip(colours, 0, 255).astype(np.uint8), mask


@pytest.fixture
def pictures(tmp_path):
    """Write six photographs with label maps, every other one with opacity, and two without; ending by ending."""

    def write(ending):
        rng = np.random.default_rng(0)
        folder = tmp_path / "pictures"
        for part in ("imagesTr", "labelsTr", "imagesTs"):
            (folder / part).mkdir(parents=True)
        for number in range(8):
            colours, mask = scene(rng)
            image = Image.fromarray(colours)
            if number < 6:
                opaque = number % 2 == 1 and ending != ".jpg"
                (image.convert("RGBA") if opaque else image).save(folder / "imagesTr" / f"c{number}{ending}")
                Image.fromarray(mask).save(folder / "labelsTr" / f"c{number}.png")
            else:
                image.save(folder / "imagesTs" / f"c{number}{ending}")
        content = {"channel_names": ["R", "G", "B"], "labels": {"background": 0, "square": 1}, "file_ending": ending}
        (folder / "dataset.json").write_text(json.dumps(content))
        return folder

    return write


@pytest.mark.parametrize("ending", [".png", ".jpg"])
def test_cases_and_their_label_maps_are_found(pictures, ending):
    folder = pictures(ending)
    dataset = load_dataset(folder)
    assert [case.label.name for case in dataset.cases] == [f"c{number}.png" for number in range(6)]
    assert dataset.file_ending == ".png", "what predictions are written as"
    plain = load_folders(folder / "imagesTr", folder / "labelsTr")
    assert plain.channels == ("channel_0", "channel_1", "channel_2") and plain.labels == {"background": 0, "label_1": 1}


def test_pictures_beside_volumes_are_previews(phantoms):
    before = load_dataset(phantoms)
    for folder in ("imagesTr", "labelsTr"):
        Image.new("L", (5, 5)).save(phantoms / folder / "phantom_000.png")
    assert load_dataset(phantoms).cases == before.cases
    assert load_folders(phantoms / "imagesTr", phantoms / "labelsTr").cases == before.cases


@pytest.mark.slow
def test_from_pictures_to_label_maps(pictures, tmp_path, shrink_plan):
    folder = pictures(".png")
    workspace = autoseg.plan_and_preprocess(folder, workspace=tmp_path / "work", time_budget=3600.0, workers=0)
    assert list(read_plan(workspace.plan_file).configurations) == ["2d"]
    shrink_plan(workspace.plan_file, patch_size=[32, 32])
    autoseg.train_fold(workspace.root, "2d", 0, iterations=2)
    result = autoseg.predict_folder(workspace.root, folder / "imagesTs", tmp_path / "out")
    assert result.done == ("c6", "c7")
    found = np.asarray(Image.open(tmp_path / "out" / "c6.png"))
    assert found.shape == SIZE and set(np.unique(found)) <= {0, 1}
