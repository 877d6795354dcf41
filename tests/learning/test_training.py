from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

import autoseg
from autoseg.errors import TrainingError, WeightsError
from autoseg.learning.budget import affordable_steps
from autoseg.learning.loop import SHORTEST_INTERVAL, VALIDATIONS, Interrupted
from autoseg.workspace.paths import Workspace

STEPS = 6


def weights(root, name="3d_fullres", fold=0):
    return load_file(Workspace(root).fold(name, fold).model)


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="session")
def reference(made_once, tmp_path_factory):
    """Weights after an undisturbed training."""
    root = shutil.copytree(made_once / "workspace", tmp_path_factory.mktemp("reference") / "workspace")
    autoseg.train_fold(root, "3d_fullres", 0, iterations=STEPS)
    return weights(root)


def test_one_seed_gives_one_set_of_weights(workspace, reference):
    autoseg.train_fold(workspace, "3d_fullres", 0, iterations=STEPS)
    assert same(weights(workspace), reference)


def test_another_seed_gives_others(workspace, reference):
    autoseg.train_fold(workspace, "3d_fullres", 0, iterations=STEPS, seed=1)
    assert not same(weights(workspace), reference)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_loader_workers_change_nothing(workspace, reference, workers):
    autoseg.train_fold(workspace, "3d_fullres", 0, iterations=STEPS, workers=workers)
    assert same(weights(workspace), reference)


@pytest.mark.parametrize("stop_after", [1, 4])
def test_stopped_and_resumed_is_the_same(workspace, reference, stop_after):
    def stop(report):
        if report.step == stop_after:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        autoseg.train_fold(workspace, "3d_fullres", 0, iterations=STEPS, listener=stop)
    folder = Workspace(workspace).fold("3d_fullres", 0)
    assert json.loads(folder.resume_state.read_text())["progress"]["step"] == stop_after
    autoseg.train_fold(workspace, "3d_fullres", 0, iterations=STEPS)
    assert same(weights(workspace), reference)
    assert not list(folder.root.glob("resume*"))


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [2.5, 5.0])
def test_killed_at_any_moment_and_resumed_is_the_same(workspace, made_once, tmp_path, seconds):
    steps = ["--iterations", "120"]
    command = [sys.executable, "-m", "autoseg", "train-fold"]
    whole = shutil.copytree(made_once / "workspace", tmp_path / "whole")
    subprocess.run([*command, str(whole), "3d_fullres", "0", *steps], check=True, capture_output=True)
    process = subprocess.Popen([*command, str(workspace), "3d_fullres", "0", *steps, "--checkpoint-every", "0.2s"])
    time.sleep(seconds)
    process.kill()
    process.wait()
    subprocess.run([*command, str(workspace), "3d_fullres", "0", *steps], check=True, capture_output=True)
    assert same(weights(workspace), weights(whole))


def test_a_resumed_training_keeps_its_settings(workspace):
    def stop(report):
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        autoseg.train_fold(workspace, "3d_fullres", 0, iterations=STEPS, listener=stop)
    with pytest.raises(TrainingError, match="started with another seed; continue with the same value, or start again"):
        autoseg.train_fold(workspace, "3d_fullres", 0, iterations=STEPS, seed=5)
    autoseg.train_fold(workspace, "3d_fullres", 0, iterations=STEPS, seed=5, restart=True)


def test_bfloat16_is_as_steady(workspace, tmp_path):
    plan = Workspace(workspace).plan_file
    plan.write_text(plan.read_text().replace('"float32", "storage"', '"bfloat16", "storage"'))
    other = shutil.copytree(workspace, tmp_path / "other")
    for root in (workspace, other):
        autoseg.train_fold(root, "3d_fullres", 0, iterations=STEPS)
    assert same(weights(workspace), weights(other))


@pytest.mark.parametrize("name", ["2d", "3d_fullres"])
def test_a_fold_leaves_what_the_readme_says(trained, name):
    folder = Workspace(trained).fold(name, 0)
    for path in (folder.model, folder.best, folder.metrics, folder.progress, folder.summary):
        assert path.stat().st_size > 0
    summary = json.loads(folder.summary.read_text())
    assert sorted(summary["cases"]) == sorted(Workspace(trained).splits()[0].val)
    for case in summary["cases"]:
        assert (folder.validation / f"{case}.nii.gz").exists()


def test_a_finished_fold_is_not_trained_again(trained):
    folder = Workspace(trained).fold("2d", 0)
    before = folder.model.stat().st_mtime_ns
    autoseg.train_fold(trained, "2d", 0)
    assert folder.model.stat().st_mtime_ns == before


def test_fold_all_trains_on_everything(workspace):
    summary = autoseg.train_fold(workspace, "2d", "all", iterations=1)
    assert len(summary.cases) == 6


def test_a_time_budget_decides_the_steps(workspace):
    reports = []
    autoseg.train_fold(workspace, "2d", 0, time_budget=4.0, listener=reports.append)
    assert reports[-1].step == reports[-1].total
    rates = [report.learning_rate for report in reports]
    assert len(rates) < 20 or rates[-1] < 0.1 * max(rates)


@given(st.floats(1, 1e5), st.floats(1e-3, 10), st.floats(0, 10), st.integers(SHORTEST_INTERVAL, 200))
def test_steps_and_validations_fit_the_time(seconds, step, look, interval):
    steps = affordable_steps(seconds, step, look, interval=interval)
    looks = min(steps / interval, VALIDATIONS) + 1
    assert steps == 1 or steps * step + looks * look <= seconds * 1.01 + look


def test_weights_of_another_network_are_refused(trained):
    plan = Workspace(trained).plan_file
    plan.write_text(plan.read_text().replace('"features": [4, 8]', '"features": [4, 16]'))
    with pytest.raises(WeightsError, match=r"do not fit the plan's network: .*expected"):
        autoseg.train_fold(trained, "3d_fullres", 0)


def test_damaged_weights_are_named(trained):
    path = Workspace(trained).fold("2d", 0).model
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(WeightsError, match=r"model.safetensors: damaged"):
        autoseg.train_fold(trained, "2d", 0)
