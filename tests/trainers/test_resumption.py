"""Every trainer, killed at any moment, ends with the same weights and the same metrics."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

import autoseg
from autoseg.learning.trainer import trainers
from autoseg.workspace.paths import Workspace, read_metrics

sys.path.insert(0, str(Path(__file__).parent))
import killed

NAME = "3d_fullres"
TRAINERS = ("supervised", "random_forest", "teacher_and_critic")


@pytest.fixture(scope="module", autouse=True)
def outside_trainer():
    """Let this process know the trainer of the other package."""
    killed.register_outside_trainer()
    yield
    del trainers._implementations["teacher_and_critic"]


@pytest.fixture
def place(half_labelled, tmp_path, shrink_plan):
    """A workspace with labelled and unlabelled cases."""
    options = {"configurations": [NAME], "time_budget": 3600.0, "workers": 0}
    found = autoseg.plan_and_preprocess(half_labelled, workspace=tmp_path / "whole", **options)
    shrink_plan(found.plan_file)
    return found


@pytest.fixture
def planned_for(place, forest_plan):
    """Return what plans a trainer."""

    def plan_for(trainer: str) -> Workspace:
        if trainer == "random_forest":
            forest_plan(place.plan_file)
        else:
            plan = json.loads(place.plan_file.read_text())
            plan["configurations"][NAME]["trainer"] = {"name": trainer}
            plan["configurations"][NAME]["training"]["ema_decay"] = 0.9
            place.plan_file.write_text(json.dumps(plan))
        return place

    return plan_for


def outcome(place: Workspace):
    """Return weights and metrics of the fold, without times."""
    folder = place.fold(NAME, 0)
    lines = [line | {"seconds": 0} for line in read_metrics(folder.metrics)]
    return load_file(folder.model), load_file(folder.best), lines


def test_every_trainer_is_tested():
    assert set(trainers.names()) == set(TRAINERS)


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize(
    "moment", ["between_steps", *(pytest.param(name, marks=pytest.mark.slow) for name in list(killed.MOMENTS)[1:])]
)
def test_a_killed_training_goes_on_bit_for_bit(trainer, moment, planned_for, tmp_path):
    whole = planned_for(trainer)
    broken = Workspace(Path(shutil.copytree(whole.root, tmp_path / "broken")))
    autoseg.train_fold(whole.root, NAME, 0, **killed.OPTIONS)
    command = [sys.executable, killed.__file__, str(broken.root), NAME, moment]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert broken.fold(NAME, 0).resume_state.exists() and not broken.fold(NAME, 0).model.exists()
    autoseg.train_fold(broken.root, NAME, 0, **killed.OPTIONS)
    for expected, found in zip(outcome(whole)[:2], outcome(broken)[:2], strict=True):
        assert expected.keys() == found.keys() and all(expected[name].equal(found[name]) for name in expected)
    assert outcome(whole)[2] == outcome(broken)[2]


@pytest.mark.slow
@pytest.mark.parametrize("trainer", TRAINERS)
def test_loader_workers_change_nothing(trainer, planned_for, tmp_path):
    whole = planned_for(trainer)
    other = Workspace(Path(shutil.copytree(whole.root, tmp_path / "other")))
    for place, workers in ((whole, 0), (other, 2)):
        autoseg.train_fold(place.root, NAME, 0, **{**killed.OPTIONS, "workers": workers})
    expected, found = (outcome(place)[0] for place in (whole, other))
    assert all(expected[name].equal(found[name]) for name in expected)
