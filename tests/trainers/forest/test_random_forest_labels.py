"""Random forests on regions, on ignored voxels and as the stages of a cascade."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import autoseg
from autoseg.evaluation.folder import evaluate_folder
from autoseg.images.volumes import read_labels, write_labels
from autoseg.inference.folder import predict_folder
from autoseg.networks.random_forest import class_logits
from autoseg.trainers.forest.scores import Told, fitting_bias
from autoseg.trainers.forest.voxels import Voxels

IGNORED = 255


def relabelled(phantoms, labels, **description):
    """Describe the phantoms' body, 1, and core, 2, in another way."""
    path = phantoms / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"labels": labels} | description))
    return phantoms


def trained(phantoms, root, forest_plan, *, iterations=6):
    place = autoseg.plan_and_preprocess(
        phantoms, workspace=root, configurations=["3d_fullres"], time_budget=3600.0, workers=0
    )
    forest_plan(place.plan_file)
    return place, autoseg.train_fold(place.root, "3d_fullres", 0, iterations=iterations, workers=1)


def test_regions_that_overlap(phantoms, tmp_path, forest_plan):
    regions = {"background": 0, "whole": [1, 2], "core": 2}
    relabelled(phantoms, regions, regions_class_order=[1, 2])
    place, summary = trained(phantoms, tmp_path / "workspace", forest_plan)
    assert list(next(iter(summary.cases.values()))) == ["whole", "core"]
    assert summary.classes["whole"]["dice"].mean > 0.6
    predict_folder(place.root, phantoms / "imagesTs", tmp_path / "out")
    assert evaluate_folder(tmp_path / "out", phantoms / "labelsTs", dataset=phantoms / "dataset.json").mean_dice > 0.4


def test_ignored_voxels_teach_nothing(phantoms, tmp_path, forest_plan):
    relabelled(phantoms, {"background": 0, "body": 1, "core": 2, "ignore": IGNORED})
    for path in sorted((phantoms / "labelsTr").iterdir()):
        labels, geometry = read_labels(path)
        # Whoever learnt from these would call the upper half of every image core.
        labels[::2] = IGNORED
        write_labels(path, labels, geometry)
    _, summary = trained(phantoms, tmp_path / "workspace", forest_plan)
    assert summary.classes["body"]["dice"].mean > 0.5


def test_probabilities_of_a_region_are_those_of_its_labels():
    shares = torch.tensor([[0.5, 0.3, 0.2], [0.0, 0.0, 1.0]])
    logits = class_logits(shares, torch.zeros(3), [[1, 2], [2]])
    torch.testing.assert_close(logits.sigmoid(), torch.tensor([[0.5, 0.2], [1.0, 1.0]]), atol=1e-5, rtol=0)
    torch.testing.assert_close(class_logits(shares, torch.zeros(3)).softmax(1), shares, atol=1e-5, rtol=0)


def test_the_bias_undoes_even_sampling_where_that_helps():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 500)
    # The background is 40 times as frequent as drawn, and an eighth of it looks more like foreground than not.
    foreground = np.where(labels == 1, rng.uniform(0.8, 1, 1000), rng.uniform(0, 0.57, 1000))
    weights = np.where(labels == 1, 1.0, 40.0)
    shares = torch.from_numpy(np.stack([1 - foreground, foreground], axis=1)).float()
    told = Told(Voxels(torch.zeros(1, 1000), labels, weights), shares, torch.ones(1000))
    bias = fitting_bias(told, [(1,)], regions=False)
    assert bias[0] - bias[1] > 0
    without = told.scores(torch.zeros(2), [(1,)], regions=False)[0].dice
    (score,) = told.scores(bias, [(1,)], regions=False)
    assert score.dice == pytest.approx(1) and without < 0.5
