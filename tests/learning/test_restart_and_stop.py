"""Beginning a fold anew, and stopping one whose batches come from workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

import autoseg
from autoseg.cli.main import main
from autoseg.learning.loop import Interrupted
from autoseg.workspace.paths import Workspace


def train(root, *options):
    with pytest.raises(SystemExit) as exit_:
        main(["train-fold", str(root), "2d", "0", "--iterations", "2", *options])
    assert not exit_.value.code


def test_beginning_anew_replaces_all_but_the_log(trained):
    folder = Workspace(trained).fold("2d", 0)
    (folder.root / "stale").mkdir()
    before = load_file(folder.model)
    train(trained, "--restart", "--seed", "7")
    assert not (folder.root / "stale").exists()
    after = load_file(folder.model)
    assert not all(torch.equal(before[name], after[name]) for name in before)
    assert "2 steps" in folder.log.read_text(), "the log of the new training must not be lost with the old"


def test_stopped_in_the_last_step_the_model_is_still_written(workspace):
    def stop(report):
        if report.step == report.total:
            os.kill(os.getpid(), signal.SIGTERM)

    folder = Workspace(workspace).fold("2d", 0)
    with pytest.raises(Interrupted):
        autoseg.train_fold(workspace, "2d", 0, iterations=2, listener=stop)
    assert not folder.model.exists()
    autoseg.train_fold(workspace, "2d", 0, iterations=2)
    assert folder.model.exists() and folder.summary.exists() and not folder.resume_state.exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_workers_do_not_die_of_the_signal_that_stops_a_training(workspace, number):
    """A terminal sends Ctrl-C to the whole process group."""
    command = [sys.executable, "-m", "autoseg", "train-fold", str(workspace), "2d", "0"]
    command += ["--iterations", "4000", "--workers", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    metrics = Workspace(workspace).fold("2d", 0).metrics
    while process.poll() is None and not (metrics.exists() and metrics.stat().st_size):
        time.sleep(0.1)
    os.killpg(process.pid, number)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130 and "run the same command again" in said, said
    # Python's own resource tracker dies of SIGUSR1 and says so; nothing of the training is lost by that.
    assert number == signal.SIGUSR1 or "Traceback" not in said
