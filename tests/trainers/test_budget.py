from __future__ import annotations

import json
import time

import pytest

import autoseg
from autoseg.workspace import Workspace


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
