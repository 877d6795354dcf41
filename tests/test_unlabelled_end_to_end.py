"""A dataset with labelled, tagged and unlabelled cases of two sites goes through every command."""

from __future__ import annotations

import json
import shutil
import zipfile

import numpy as np
import pytest

import autoseg
from autoseg.cli.main import main
from autoseg.preprocessing.store import open_case
from autoseg.workspace.paths import Workspace

NEW = "new_000"
TAGGED = "new_001"


def run(*words):
    with pytest.raises(SystemExit) as exit_:
        main([str(word) for word in words])
    return exit_.value.code or 0


@pytest.fixture(scope="module")
def mixed_once(made_once, tmp_path_factory):
    """The phantoms with two more images, and their workspace with the plan of the phantoms alone."""
    folder = tmp_path_factory.mktemp("mixed")
    shutil.copytree(made_once / "phantoms", folder / "phantoms")
    (folder / "phantoms" / "unlabelledTr").mkdir()
    for old, new in (("phantom_006", NEW), ("phantom_007", TAGGED)):
        for path in (folder / "phantoms").glob(f"imagesTs/{old}_*"):
            shutil.copy(path, folder / "phantoms" / "unlabelledTr" / path.name.replace(old, new))
    description = json.loads((folder / "phantoms" / "dataset.json").read_text())
    description |= {"tags": {TAGGED: ["large"], "phantom_000": []}, "sites": {NEW: "south", "phantom_001": "north"}}
    (folder / "phantoms" / "dataset.json").write_text(json.dumps(description))
    (folder / "workspace").mkdir()
    shutil.copy(made_once / "workspace" / "plan.json", folder / "workspace")
    autoseg.plan_and_preprocess(folder / "phantoms", workspace=folder / "workspace", time_budget=3600.0, workers=0)
    for fold in (0, 1):
        autoseg.train_fold(folder / "workspace", "3d_fullres", fold, iterations=2)
    return folder


@pytest.fixture(scope="module")
def mixed(mixed_once):
    return Workspace(mixed_once / "workspace")


def test_check_counts_kinds_tags_and_sites(mixed_once, capfd):
    assert run("check", mixed_once / "phantoms", "--workers", 0) == 0
    said = capfd.readouterr().out
    assert "cases: 6 labelled, 1 tagged, 1 unlabelled" in said
    assert "tags: large in 1 of 2 cases with tags" in said
    assert "sites: north 1, south 1, not stated 6" in said


def test_check_counts_sparse_label_maps(phantoms, capfd):
    description = json.loads((phantoms / "dataset.json").read_text())
    description["labels"] = {"background": 0, "body": 1, "ignore": 2}
    (phantoms / "dataset.json").write_text(json.dumps(description))
    assert run("check", phantoms, "--workers", 0) == 0
    assert "cases: 6 labelled (6 of them sparse)" in capfd.readouterr().out


def test_every_case_is_preprocessed_and_in_a_fold(mixed):
    plan, splits = mixed.plan(), mixed.splits()
    folder = mixed.data(plan, plan.configuration("3d_fullres"))
    assert [open_case(folder, name).labelled for name in ("phantom_000", NEW, TAGGED)] == [True, False, False]
    assert all({NEW, TAGGED} < {*split.train, *split.val} for split in splits)


def test_unlabelled_cases_change_no_weight_of_supervised_training(mixed, trained_once):
    alone = Workspace(trained_once / "workspace")
    assert mixed.splits() != alone.splits()
    for name in ("phantom_000", "phantom_005"):
        stored = [
            open_case(place.data(place.plan(), place.plan().configuration("3d_fullres")), name)
            for place in (mixed, alone)
        ]
        assert np.array_equal(stored[0].image[:], stored[1].image[:])
        assert all(np.array_equal(stored[0].foreground[c], stored[1].foreground[c]) for c in (1, 2))
    weights = [place.fold("3d_fullres", 0).model.read_bytes() for place in (mixed, alone)]
    assert weights[0] == weights[1]


def test_validation_and_choice_are_those_of_labelled_cases(mixed):
    validated = {
        path.name.split(".")[0]
        for fold in (0, 1)
        for path in mixed.fold("3d_fullres", fold).validation.glob("*.nii.gz")
    }
    splits = mixed.splits()
    assert validated == {name for split in splits[:2] for name in split.val} - {NEW, TAGGED}
    assert autoseg.choose(mixed.root, workers=0).cases == len(validated)


def test_report_and_bundle_count_the_kinds(mixed, mixed_once, tmp_path, capfd):
    assert run("report", mixed.root) == 0
    page = mixed.report_file.read_text()
    assert "8: 6 labelled, 1 tagged, 1 unlabelled" in page and "north 1, south 1, not stated 6" in page
    assert run("export", mixed.root, tmp_path / "bundle.zip") == 0
    with zipfile.ZipFile(tmp_path / "bundle.zip") as bundle:
        dataset = json.loads(bundle.read("dataset.json"))
        card = next(bundle.read(name).decode() for name in bundle.namelist() if name.endswith(".md"))
    assert (dataset["tags"], dataset["sites"], dataset["tag_order"]) == ({}, {}, ["large"])
    assert "Training cases: 8 (6 labelled, 1 tagged, 1 unlabelled)" in card
    assert (
        run("predict-folder", tmp_path / "bundle.zip", mixed_once / "phantoms" / "unlabelledTr", tmp_path / "out") == 0
    )
    assert (tmp_path / "out" / f"{NEW}.nii.gz").exists()


def test_three_folders_are_a_dataset(mixed_once, capfd):
    data = mixed_once / "phantoms"
    words = ["check", "--images", data / "imagesTr", "--labels", data / "labelsTr"]
    assert run(*words, "--unlabelled", data / "unlabelledTr", "--workers", 0) == 0
    assert "cases: 6 labelled, 2 unlabelled" in capfd.readouterr().out
    assert run("check", data, "--unlabelled", data / "unlabelledTr") == 2
    assert "move the images to DATASET/unlabelledTr" in capfd.readouterr().err
