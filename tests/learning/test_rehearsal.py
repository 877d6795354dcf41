"""Timing a network before its training, which must leave no trace in it."""

from __future__ import annotations

import copy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from autoseg.learning import rehearsal
from autoseg.learning.budget import plan_budget
from autoseg.learning.learner import build_learner, learning_step
from autoseg.learning.rehearsal import REHEARSED, rehearse
from autoseg.learning.samples import fold_data, training_sources
from autoseg.learning.setting import FoldRequest, read_setting
from autoseg.learning.trainer import Step, Task
from autoseg.learning.training import seeded_network
from autoseg.learning.validation.cases import FoldValidation
from autoseg.workspace.paths import Workspace

CPU = torch.device("cpu")
OPTIMIZERS = [
    {"name": "adamw", "learning_rate": 0.01},
    {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9},
    {"name": "muon", "learning_rate": 0.01, "vector_learning_rate": 0.01},
    {"name": "adadelta"},
    {"name": "angular_grad", "learning_rate": 0.01},
]


@pytest.fixture
def setting(workspace):
    return read_setting(FoldRequest(Workspace(workspace), "2d", 0))


def make_learner(setting, optimizer=None):
    configuration = setting.configuration
    if optimizer:
        configuration = replace(configuration, training=replace(configuration.training, optimizer=optimizer))
    network = seeded_network(setting.configuration, setting.dataset, seed=0)
    return build_learner(Task(configuration, setting.dataset, network, CPU))


def make_source(setting):
    return training_sources(setting)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda spec: spec["name"])
def test_training_after_a_rehearsal_is_the_same_bit_for_bit(setting, optimizer):
    source = make_source(setting)
    rehearsed, other = make_learner(setting, optimizer), make_learner(setting, optimizer)
    optimizer = rehearsed.optimizers["network"].optimizer
    groups = copy.deepcopy(optimizer.state_dict()["param_groups"])
    rehearse(rehearsed, source, budget=3600.0)
    assert optimizer.state_dict() == {"state": {}, "param_groups": groups}
    assert all(parameter.grad is None for parameter in rehearsed.network.parameters())
    for step in range(3):
        for learner in (rehearsed, other):
            learning_step(learner, source.to_device(source[step], CPU), Step(step, 0.5, np.random.default_rng(step)))
    for found, expected in zip(rehearsed.network.parameters(), other.network.parameters(), strict=True):
        assert torch.equal(found, expected)


def test_steps_are_timed_with_their_optimizer(setting, monkeypatch):
    learner = make_learner(setting)
    made = []
    monkeypatch.setattr(learner.optimizers["network"].optimizer, "step", lambda: made.append(1))
    rehearse(learner, make_source(setting), budget=3600.0)
    assert len(made) == 1 + REHEARSED


@pytest.mark.parametrize(("seconds", "times"), [(0.5, 4), (5.0, 4), (7.0, 3), (14.0, 2), (16.0, 1), (1000.0, 1)])
def test_what_takes_a_large_part_of_the_budget_is_timed_less_often(monkeypatch, seconds, times):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(rehearsal, "time", SimpleNamespace(perf_counter=lambda: clock.now))

    def action(index):
        clock.now += seconds

    assert rehearsal._median_seconds(action, CPU, budget=100.0) == pytest.approx(seconds)
    assert clock.now == pytest.approx(seconds * times)


def test_the_time_that_is_spent_counts(setting, monkeypatch, tmp_path):
    validation = FoldValidation(setting.dataset, fold_data(setting, setting.split.val), None, setting.tiling, CPU)
    monkeypatch.setattr("autoseg.learning.budget.rehearse", lambda *args, **options: rehearsal.Rehearsal(0.1, 0, 0))
    monkeypatch.setattr("autoseg.learning.budget.time", SimpleNamespace(monotonic=lambda: 130.0))
    steps = [
        plan_budget(
            make_learner(setting),
            None,
            validation,
            seconds=100.0,
            patches=2,
            interval=50,
            started=started,
        ).iterations
        for started in (130.0, 100.0)
    ]
    assert steps[0] - steps[1] == pytest.approx(300, abs=1)
