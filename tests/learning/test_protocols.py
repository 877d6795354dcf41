"""Networks that learn in a way of their own: what they draw is decided by the samples, however a training goes."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import replace
from itertools import islice

import pytest
import torch

import autoseg
from autoseg.files.weights import load_tensors
from autoseg.learning.costs.blank import blank_step
from autoseg.learning.costs.verification import verify_memory
from autoseg.learning.learner import build_learner
from autoseg.learning.loader import batches
from autoseg.learning.loop import Interrupted
from autoseg.learning.samples import training_sources
from autoseg.learning.setting import FoldRequest, read_setting
from autoseg.learning.trainer import Task
from autoseg.learning.training import seeded_network
from autoseg.workspace.paths import Workspace

CPU = torch.device("cpu")


@pytest.fixture(params=["2d", "3d_fullres"])
def name(request):
    return request.param


@pytest.fixture
def latent(workspace, latent_plan):
    """A prepared workspace whose networks have latent variables."""
    latent_plan(Workspace(workspace).plan_file)
    return workspace


def seeds(workspace, name, *, first=0, count=4, workers=0, **request):
    setting = read_setting(FoldRequest(Workspace(workspace), name, 0, **request))
    found = islice(batches(training_sources(setting), first=first, device=CPU, workers=workers), count)
    return [seed for batch in found for seed in batch["labelled"].seeds]


def test_samples_have_seeds_of_their_own_wherever_reading_begins(workspace, name):
    whole = seeds(workspace, name)
    assert len(set(whole)) == 8
    assert seeds(workspace, name, first=1, count=3) == whole[2:]
    assert not set(seeds(workspace, name, seed=1)) & set(whole)


@pytest.mark.slow
def test_workers_give_the_same_seeds(workspace):
    assert seeds(workspace, "2d", workers=2) == seeds(workspace, "2d")


def train(workspace, name, **options):
    autoseg.train_fold(workspace, name, 0, iterations=3, **options)
    return load_tensors(Workspace(workspace).fold(name, 0).model)


def test_a_training_that_was_stopped_ends_with_the_same_weights(latent, name, tmp_path):
    whole = train(shutil.copytree(latent, tmp_path / "whole"), name)

    def stop(report):
        if report.step == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        train(latent, name, listener=stop)
    stopped = train(latent, name)
    assert any(tensor_name.startswith("posterior.") for tensor_name in whole)
    assert all(torch.equal(tensor, stopped[tensor_name]) for tensor_name, tensor in whole.items())


def test_another_seed_draws_another_map(latent):
    """All else being the same, which it is where the first weights are given."""
    setting = read_setting(FoldRequest(Workspace(latent), "2d", 0))
    network = seeded_network(setting.configuration, setting.dataset, seed=0)
    torch.nn.init.normal_(network.combination.shift.weight, std=3.0)
    learner = build_learner(Task(setting.configuration, setting.dataset, network, CPU))
    batch = next(batches(training_sources(setting), first=0, device=CPU, workers=0))["labelled"]
    losses = [
        sum(learner.method.step({"labelled": replace(batch, seeds=seeds)}, blank_step()).values()).item()
        for seeds in (batch.seeds, batch.seeds, (1, 2), None)
    ]
    assert losses[0] == losses[1] and len(set(losses)) == 3


@pytest.mark.parametrize(
    "labels", ["regions", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("ignored", "partial"))]
)
def test_all_kinds_of_labels_are_learned_from(labels, phantoms, tmp_path, latent_plan, shrink_plan):
    description = json.loads((phantoms / "dataset.json").read_text())
    values = [value for value in description["labels"].values() if value]
    if labels == "regions":
        description["labels"] = {"background": 0, "whole": values, "core": values[-1:]}
        description["regions_class_order"] = values[:2]
    elif labels == "ignored":
        last = list(description["labels"])[-1]
        description["labels"]["ignore"] = description["labels"].pop(last)
    else:
        case = sorted((phantoms / "labelsTr").iterdir())[0].name.removesuffix(".nii.gz")
        description["annotated"] = {case: [next(n for n, v in description["labels"].items() if v)]}
    (phantoms / "dataset.json").write_text(json.dumps(description))
    options = {"time_budget": 3600.0, "workers": 0, "planner": "probabilistic_unet", "configurations": ("2d",)}
    place = autoseg.plan_and_preprocess(phantoms, workspace=tmp_path / "kinds", **options)
    shrink_plan(place.plan_file)
    assert place.plan().configuration("2d").network["labels"] == len(place.dataset().values)
    autoseg.train_fold(place.root, "2d", 0, iterations=2)
    result = autoseg.predict_folder(place.root, phantoms / "imagesTs", tmp_path / "out", hypotheses=2)
    assert len(result.done) == 2 and len(list((tmp_path / "out" / "hypotheses").glob("*/*.nii.gz"))) == 4


@pytest.mark.slow
def test_memory_with_both_encoders_is_counted(latent):
    place = Workspace(latent)
    found = verify_memory(place.plan().configuration("3d_fullres"), place.dataset(), device="cpu")
    assert -0.3 < found.excess < 0.6
