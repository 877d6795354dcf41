"""Whole trainings with what published systems use instead of the planner's choice."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

import autoseg
from autoseg.api import PlanningOptions, plan_dataset
from autoseg.workspace.paths import Workspace, read_metrics

RECIPES = {
    "DeepMedic": {
        "loss": '{"name": "cross_entropy"}',
        "sampling": '{"name": "half", "channel": 0}',
        "training.optimizer": '{"name": "rmsprop", "learning_rate": 0.001, "momentum": 0.6, "weight_decay": 0.0002}',
        "training.schedule": '{"name": "plateau", "factor": 0.5}',
    },
    "EMMA's second U-Net": {
        "loss": '{"name": "soft_iou", "background": true}',
        "sampling": '{"name": "equal_per_class", "channel": 0}',
        "training.optimizer": '{"name": "adadelta"}',
        "training.schedule": '{"name": "staircase"}',
    },
    "SciNets": {
        "loss": '{"name": "f_beta", "beta": 2}',
        "sampling": '{"name": "uniform"}',
        "training.optimizer": '{"name": "sgd", "learning_rate": 0.05, "momentum": 0.9}',
        "training.schedule": '{"name": "sgdr", "growth": 2}',
    },
    "a sum with weights of classes": {
        "loss": '{"name": "sum", "of": [{"name": "cross_entropy", "weights": "inverse_frequency"}, '
        '{"name": "mcc", "weight": 0.5}, {"name": "tversky"}, {"name": "top_k_cross_entropy"}]}',
        "sampling": '{"name": "masked"}',
        "training.optimizer": '{"name": "angular_grad", "learning_rate": 0.01}',
        "training.schedule": '{"name": "one_cycle"}',
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_fold_is_trained_with_it(workspace, recipe):
    place = Workspace(workspace)
    edits = [f"2d.{field}={value}" for field, value in RECIPES[recipe].items()]
    plan_dataset(place.dataset(), place.fingerprint(), place, PlanningOptions(edits=edits), replan=False)
    autoseg.train_fold(workspace, "2d", 0, iterations=3)
    folder = place.fold("2d", 0)
    assert all(torch.isfinite(tensor).all() for tensor in load_file(folder.model).values())
    assert read_metrics(folder.metrics)[-1]["step"] == 3
