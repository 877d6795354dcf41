"""The label maps that a cascade reads: whose they are, how they are kept, and what is said where they are missing."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import autoseg
from autoseg.cli.main import main
from autoseg.data.dataset import write_dataset
from autoseg.data.splits import with_others, write_splits
from autoseg.errors import TrainingError
from autoseg.images.volumes import read_labels, write_labels
from autoseg.preprocessing import previous_stage
from autoseg.preprocessing.previous_stage import labels_on_grid, prepare_previous_stage
from autoseg.system.execution import local_executor

STAGE, CASCADE = "3d_lowres", "3d_cascade_fullres"


def test_each_case_is_read_with_the_label_map_of_the_fold_that_held_it_out(cascade_once):
    dataset = cascade_once.dataset()
    for case in dataset.cases:
        found = cascade_once.stored(case.name)
        expected = labels_on_grid(cascade_once.held_out(case.name), found.record.preprocessing, dataset)
        assert found.previous.shape == found.labels.shape and expected.any()
        assert np.array_equal(found.previous[:], expected)


def test_label_maps_come_to_the_grid_as_reference_labels_do(cascade_once):
    dataset = cascade_once.dataset()
    for case in dataset.cases:
        found = cascade_once.stored(case.name)
        assert np.array_equal(
            labels_on_grid(read_labels(case.label)[0], found.record.preprocessing, dataset), found.labels[:]
        )


@pytest.mark.parametrize("lost", ["model", "label map"])
@pytest.mark.parametrize("fold", ["0", "all"])
def test_what_must_be_trained_first_is_said_before_anything_is_written(stage, capfd, lost, fold):
    folder = stage.fold(STAGE, 1)
    (folder.model if lost == "model" else next(folder.validation.glob("*.nii.gz"))).unlink()
    before = sorted(stage.root.rglob("*"))
    with pytest.raises(SystemExit) as exit_:
        main(["train-fold", str(stage.root), CASCADE, fold, "--iterations", "1"])
    said = capfd.readouterr().err.strip()
    assert exit_.value.code == 2 and "\n" not in said
    assert "fold 1 is not trained and validated" in said and said.endswith(f"{stage.root} {STAGE} 1")
    assert sorted(stage.root.rglob("*")) == before


def test_all_missing_folds_are_named(planned):
    with pytest.raises(TrainingError, match=f"label maps of {STAGE}, but folds 0, 1 are not trained"):
        autoseg.train_fold(planned.root, CASCADE, 0)


def test_a_case_that_no_fold_held_out_is_named(stage):
    splits = json.loads(stage.splits_file.read_text())
    left = splits[1]["val"].pop()
    stage.splits_file.write_text(json.dumps(splits))
    with pytest.raises(TrainingError, match=f"splits.json: case '{left}' is in no fold's val"):
        autoseg.train_fold(stage.root, CASCADE, 0)


def test_cases_without_a_label_map_need_no_label_map_of_the_first_stage(stage):
    before = stage.find().maps
    dataset = stage.dataset()
    others = tuple(replace(dataset.cases[0], name=name, label=None) for name in ("x", "y"))
    write_dataset(stage.dataset_file, replace(dataset, cases=(*dataset.cases, *others)))
    write_splits(stage.splits_file, with_others(stage.splits(), [["x", "y"]]))
    assert all({"x", "y"} < {*split.train, *split.val} for split in stage.splits())
    assert stage.find().maps == before


def test_label_maps_are_made_once_and_again_when_the_first_stage_changes(cascade):
    dataset = cascade.dataset()
    assert prepare_previous_stage(cascade.find(), dataset, executor=local_executor(0)) == 0
    case = cascade.splits()[1].val[0]
    path = cascade.fold(STAGE, 1).validation / f"{case}.nii.gz"
    labels, geometry = read_labels(path)
    write_labels(path, np.flip(labels, axis=1), geometry)
    assert prepare_previous_stage(cascade.find(), dataset, executor=local_executor(0)) == 1
    expected = labels_on_grid(cascade.held_out(case), cascade.stored(case).record.preprocessing, dataset)
    assert np.array_equal(cascade.stored(case).previous[:], expected)


def test_a_killed_preparation_goes_on(stage, monkeypatch):
    dataset, found = stage.dataset(), stage.find()
    written = []

    def dies(path, record):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        real(path, record)

    real = previous_stage.write_json
    monkeypatch.setattr(previous_stage, "write_json", dies)
    with pytest.raises(KeyboardInterrupt):
        prepare_previous_stage(found, dataset, executor=local_executor(0))
    assert len(list(found.folder.glob("*.b2nd"))) == 3, "the third has no record yet"
    monkeypatch.undo()
    assert prepare_previous_stage(found, dataset, executor=local_executor(0)) == len(dataset.cases) - 2
    assert not list(found.folder.glob(".partial*"))


@pytest.mark.slow
def test_several_processes_prepare_the_same(stage, cascade_once):
    assert prepare_previous_stage(stage.find(), stage.dataset(), executor=local_executor(2)) == 6
    for case in stage.dataset().cases:
        assert np.array_equal(stage.stored(case.name).previous[:], cascade_once.stored(case.name).previous[:])


def test_fold_all_reads_held_out_label_maps_too(stage):
    summary = autoseg.train_fold(stage.root, CASCADE, "all", iterations=1)
    assert len(summary.cases) == 6
    case = stage.dataset().cases[0].name
    expected = labels_on_grid(stage.held_out(case), stage.stored(case).record.preprocessing, stage.dataset())
    assert np.array_equal(stage.stored(case).previous[:], expected)
