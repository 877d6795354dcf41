from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from autoseg.errors import PlanError
from autoseg.planners import resources
from autoseg.planners.recipe import (
    ENOUGH_ITERATIONS,
    LONG_ITERATIONS,
    OVERNIGHT,
    RESERVE,
    Speed,
    affordable_batch,
    hastened,
    time_budget,
    training,
)
from autoseg.planners.resources import GIGABYTE, Resources, detect, free_memory
from autoseg.system.devices import choose_device, devices


@pytest.mark.parametrize("name", ["cuda:99", "meta", "gpu"])
def test_devices_that_are_not_there(name):
    with pytest.raises(PlanError, match=f"device '{name}'"):
        choose_device(name)


def test_auto_is_the_best_device_there_is(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device() == "cpu"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device() == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device() == "cuda"


def test_every_device_that_is_named_can_be_chosen():
    assert [choose_device(name) for name in devices()] == devices()


def test_a_cpu_plan_leaves_memory_for_others(monkeypatch):
    monkeypatch.setattr(resources, "available_memory", lambda: 4 * GIGABYTE)
    assert free_memory("cpu") == int(2.8 * GIGABYTE)
    monkeypatch.setattr(resources, "available_memory", lambda: 500 * GIGABYTE)
    assert free_memory("cpu") == 8 * GIGABYTE


def test_what_the_user_says_comes_before_what_is_found():
    found = detect("cpu", memory=3 * GIGABYTE, time_budget=60.0)
    assert (found.device, found.memory, found.time_budget) == ("cpu", 3 * GIGABYTE, 60.0)


def test_only_a_cpu_is_given_a_time_budget_unasked():
    assert time_budget(Resources("cuda", GIGABYTE, True)) is None
    assert time_budget(Resources("cpu", GIGABYTE, False)) == OVERNIGHT
    assert time_budget(Resources("cuda", GIGABYTE, True, time_budget=60)) == 60


def test_the_recipe_follows_the_budget():
    long, short = training(None), training(600)
    assert (long.optimizer["name"], long.iterations, long.time_budget) == ("sgd", LONG_ITERATIONS, None)
    assert (short.optimizer["name"], short.iterations, short.time_budget) == ("muon", None, 600)


@pytest.mark.parametrize(("steps", "factor"), [(50, 4), (300, 4), (600, 2), (1200, 1), (9000, 1)])
def test_few_steps_learn_faster(steps, factor):
    usual = training(600.0)
    found, before = hastened(usual, steps).optimizer, usual.optimizer
    for rate in ("learning_rate", "vector_learning_rate"):
        assert found[rate] == pytest.approx(factor * before[rate])


def test_learning_rates_of_others_stay():
    long, own = training(None), replace(training(600.0), optimizer={"name": "muon", "learning_rate": 0.1})
    assert hastened(long, 50) == long and hastened(own, 50) == own


def test_batches_shrink_until_there_are_enough_steps():
    def speed(seconds):
        return Speed(lambda batch: 1.0 * batch, time_budget=seconds)

    assert affordable_batch(8, 2, None) == 8
    assert affordable_batch(8, 2, speed(1e9)) == 8
    assert affordable_batch(8, 2, speed(1.0)) == 2
    middle = speed(4.5 * ENOUGH_ITERATIONS / RESERVE)
    assert affordable_batch(8, 2, middle) == 4
    assert middle.iterations(4) >= ENOUGH_ITERATIONS > middle.iterations(5)


def test_a_gpu_that_is_elsewhere_can_be_planned_for():
    here = detect("cuda", memory=24 * GIGABYTE)
    assert (here.device, here.memory, here.bfloat16) == ("cuda", 24 * GIGABYTE, True)
    if not torch.cuda.is_available():
        assert not here.is_here
        with pytest.raises(PlanError, match="device 'cuda': not on this machine, which has cpu"):
            detect("cuda")
