from __future__ import annotations

import json
import math
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import autoseg
from autoseg.inference import sliding_window
from autoseg.inference.sliding_window import Window, predict_probabilities
from autoseg.networks import networks
from autoseg.trainers import budget
from autoseg.trainers.budget import validation_tiles
from autoseg.workspace import Workspace

DEEPMEDIC = {"name": "deepmedic", "features": [3, 4], "hidden": [5], "factors": [1, 3]}
UNET = {"name": "unet", "features": [2, 4]}
HYPERDENSE = {"name": "hyperdense", "features": [2], "classifier": [3]}


def steps(root, **options):
    """Train fold 0 of the slices; return how many steps it took."""
    reports = []
    autoseg.train_fold(root, "2d", 0, listener=reports.append, **options)
    return reports[-1].step


def change_training(root, **changes):
    path = Workspace(root).plan_file
    plan = json.loads(path.read_text())
    plan["configurations"]["2d"]["training"] |= changes
    path.write_text(json.dumps(plan))


def test_steps_that_are_asked_for_come_before_time(workspace):
    assert steps(workspace, iterations=3, time_budget=3600.0) == 3


def test_the_plans_steps_come_before_its_time(workspace):
    change_training(workspace, iterations=4, time_budget=3600.0)
    assert steps(workspace) == 4


def test_time_that_is_asked_for_comes_before_the_plans_steps(workspace):
    change_training(workspace, iterations=1_000_000, time_budget=None)
    assert steps(workspace, time_budget=2.0) < 1_000_000


@pytest.mark.slow
def test_a_fold_takes_the_time_it_is_given(workspace):
    begun = time.monotonic()
    assert steps(workspace, time_budget=10.0) > 2
    # Wide limits: the machine may be busy with other things.
    assert 3.0 < time.monotonic() - begun < 40.0


def test_a_budget_too_short_for_anything_still_makes_a_model(workspace, caplog):
    with caplog.at_level("WARNING", "autoseg"):
        assert steps(workspace, time_budget=0.01) >= 1
    assert "does not fit into the time budget" in caplog.text
    assert Workspace(workspace).fold("2d", 0).model.exists()


@pytest.mark.parametrize("mirror", [(), (1,)])
@pytest.mark.parametrize("learned", [(3, 3), (3, 6, 3), (12, 12, 12)])
@pytest.mark.parametrize("spec", [DEEPMEDIC, UNET, HYPERDENSE])
def test_the_voxels_that_validation_predicts_are_counted(spec, learned, mirror):
    axes = len(learned)
    if spec is UNET:
        spec = UNET | {"kernels": [[3] * axes] * 2, "strides": [[1] * axes, [2] * axes]}
        learned = tuple(2 * n for n in learned)
    network = networks.build(spec, in_channels=1, outputs=2, dimension=axes).eval()
    patch = tuple(n + 2 * m for n, m in zip(learned, network.margin, strict=True))
    window = Window(patch, 2, mirror_axes=mirror, margin=network.margin)
    # Of the largest patches one grows to hold the first image as a whole.
    images = [np.random.default_rng(0).normal(size=(1, 4, 20, n)).astype(np.float32) for n in (26, 50, 90)]
    seen = []
    network.register_forward_pre_hook(lambda _, inputs: seen.append(math.prod(inputs[0].shape)))
    for image in images:
        predict_probabilities([network], image, window, torch.device("cpu"))
    cases = [SimpleNamespace(shape=image.shape[1:]) for image in images]
    tiles = validation_tiles(SimpleNamespace(cases=cases, window=window), network)
    assert sum(count * math.prod(size) for count, size in tiles) == sum(seen)


def test_tiles_are_timed_as_many_at_once_as_they_are_predicted(workspace, monkeypatch):
    timed = []
    monkeypatch.setattr(budget, "_prediction_time", lambda learner, image: timed.append(tuple(image.shape)) or 1.0)
    monkeypatch.setattr(sliding_window, "CPU_FORWARD_VOXELS", 10_000)
    steps(workspace, time_budget=0.01)
    together, _, *tile = timed[-1]
    assert together == 10_000 // math.prod(tile) > 1


def test_no_more_tiles_are_timed_at_once_than_a_case_has(workspace, monkeypatch):
    timed = []
    monkeypatch.setattr(budget, "_prediction_time", lambda learner, image: timed.append(tuple(image.shape)) or 1.0)
    monkeypatch.setattr(budget, "validation_tiles", lambda validation, network: [(3, (16, 16))])
    steps(workspace, time_budget=0.01)
    together, _, *tile = timed[-1]
    assert (together, tile) == (3, [16, 16])
