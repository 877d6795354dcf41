from __future__ import annotations

import json
import os
import shutil
import signal
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import autoseg
from autoseg.bundle.writing import export_bundle
from autoseg.choice import choose
from autoseg.cli.run import train_all
from autoseg.data.splits import kfold, write_splits
from autoseg.errors import PlanError, TrainingError, WeightsError
from autoseg.images.volumes import read_labels, read_volume
from autoseg.inference.members import load_network
from autoseg.inference.predictor import Predictor
from autoseg.learning.loop import Interrupted
from autoseg.report.page import write_report
from autoseg.workspace.paths import Workspace, read_metrics

FOREST = "random_forest"
TREES = 3


@pytest.fixture
def workspace(workspace, forest_plan):
    """A workspace whose plan trains small forests."""
    forest_plan(Workspace(workspace).plan_file)
    return workspace


def train(root, name="3d_fullres", fold=0, **options):
    options = {"iterations": TREES, "workers": 1} | options
    return autoseg.train_fold(root, name, fold, **options)


def folder(root, name="3d_fullres", fold=0):
    return Workspace(root).fold(name, fold)


def same(first, second):
    first, second = load_file(first.model), load_file(second.model)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture
def twin(workspace, tmp_path):
    """Another copy of the same workspace."""
    return shutil.copytree(workspace, tmp_path / "twin")


@pytest.mark.parametrize("name", ["2d", "3d_fullres"])
def test_a_forest_learns_the_phantoms(workspace, name):
    assert train(workspace, name, iterations=8).mean_dice > 0.5
    records = read_metrics(folder(workspace, name).metrics)
    assert [record["step"] for record in records] == [5, 8]
    assert records[-1]["loss"] < records[0]["loss"]
    assert records[-1]["validation_dice"] > 0.5
    assert folder(workspace, name).progress.exists()


def test_threads_change_nothing(workspace, twin):
    train(workspace, workers=1)
    train(twin, workers=3)
    assert same(folder(workspace), folder(twin))


def test_another_seed_gives_another_forest(workspace, twin):
    train(workspace)
    train(twin, seed=1)
    assert not same(folder(workspace), folder(twin))


@pytest.mark.parametrize("stop_after", [1, 2])
def test_stopped_and_resumed_is_the_same(workspace, twin, stop_after):
    def stop(report):
        if report.step == stop_after:
            os.kill(os.getpid(), signal.SIGTERM)

    train(twin)
    with pytest.raises(Interrupted):
        train(workspace, listener=stop)
    assert json.loads(folder(workspace).resume_state.read_text())["progress"]["step"] == stop_after
    assert not folder(workspace).model.exists()
    train(workspace, workers=2)
    assert same(folder(workspace), folder(twin))
    assert not list(folder(workspace).root.glob("resume*"))
    assert [r["step"] for r in read_metrics(folder(workspace).metrics)] == [TREES]


def test_a_resumed_forest_keeps_its_settings(workspace):
    def stop(report):
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        train(workspace, listener=stop)
    with pytest.raises(TrainingError, match="started with another seed"):
        train(workspace, seed=5)


def test_a_time_budget_bounds_the_trees(workspace):
    summary = train(workspace, iterations=None, time_budget=1e-3)
    assert read_metrics(folder(workspace).metrics)[-1]["step"] < 5
    assert summary.cases


def test_nothing_is_pickled_and_the_weights_are_the_trees(workspace):
    train(workspace)
    assert len(load_file(folder(workspace).model)["tree_roots"]) == TREES
    assert {p.suffix for p in folder(workspace).root.iterdir() if p.is_file()} <= {".safetensors", ".jsonl", ".png"}


def test_what_is_trained_is_chosen_exported_and_predicts_like_validation(workspace, phantoms, tmp_path):
    for fold in (0, 1):
        for name in ("2d", "3d_fullres"):
            train(workspace, name, fold)
    place = Workspace(workspace)
    found = choose(place, device="cpu")
    assert {result.configurations for result in found.results} >= {("2d",), ("3d_fullres",), ("2d", "3d_fullres")}
    write_report(place)
    assert FOREST in place.report_file.read_text()
    bundle = tmp_path / "bundle.zip"
    export_bundle(workspace, bundle)
    with zipfile.ZipFile(bundle) as file:
        assert ": random\\_forest, spacing" in file.read("MODEL_CARD.md").decode()
    image = read_volume(sorted((phantoms / "imagesTs").glob("*.nii.gz"))[:2])
    from_workspace = Predictor.load(workspace, device="cpu").predict(image)
    assert np.array_equal(Predictor.load(bundle, device="cpu").predict(image), from_workspace)
    assert from_workspace.any()


def test_prediction_of_a_validation_case_is_its_validation(workspace):
    train(workspace)
    place = Workspace(workspace)
    (case, *_) = place.splits()[0].val
    predictor = Predictor.load(workspace, device="cpu")
    found = predictor.predict(read_volume(place.dataset().case(case).images))
    expected = read_labels(folder(workspace).validation / f"{case}.nii.gz")[0]
    assert np.array_equal(found, expected)


def test_partly_annotated_cases_are_refused(workspace):
    place = Workspace(workspace)
    plain = json.loads(place.dataset_file.read_text())
    case = place.splits()[0].train[0]
    plain["annotated"] = {case: list(place.dataset().classes)[:1]}
    place.dataset_file.write_text(json.dumps(plain))
    with pytest.raises(PlanError, match=rf"field 'annotated' of dataset.json, found case '{case}'.*supervised"):
        train(workspace)


def test_a_network_that_is_no_forest_is_refused(workspace, made_once):
    place = Workspace(workspace)
    plan = json.loads((made_once / "workspace" / "plan.json").read_text())
    plan["configurations"]["2d"]["trainer"] = {"name": FOREST}
    place.plan_file.write_text(json.dumps(plan))
    with pytest.raises(PlanError, match="found the network 'unet', expected 'random_forest'; plan with --planner"):
        train(workspace, "2d")


def test_arrays_that_lead_in_circles_are_refused(workspace):
    train(workspace)
    place, path = Workspace(workspace), folder(workspace).model
    tensors = load_file(path)
    save_file(tensors | {"tree_children": tensors["tree_children"] * 0}, path)
    with pytest.raises(WeightsError, match=r"model.safetensors: random forest, array 'children'.*train this fold"):
        load_network(place.plan().configuration("3d_fullres"), place.dataset(), path, torch.device("cpu"))


def test_all_folds_at_once_choose_what_predicts(workspace, capfd):
    place = Workspace(workspace)
    write_splits(place.splits_file, kfold([case.name for case in place.dataset().cases], 2))
    assert train_all(place.root, iterations=1, workers=0) == 0
    assert set(json.loads(place.ensemble_file.read_text())["configurations"]) <= {"2d", "3d_fullres"}
    assert "2d fold 1: mean Dice" in capfd.readouterr().out
    # What is trained is not trained again.
    train_all(place.root, iterations=1, workers=0)
    assert "fold 1: mean Dice" not in capfd.readouterr().out
