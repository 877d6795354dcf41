"""Commands that are stopped or killed leave nothing half-written, and the same command goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autoseg.workspace.paths import Workspace

PATIENCE = 120.0
"""Seconds; a busy machine takes long to import torch."""


def begin(*words):
    """Start a command in a process group of its own, as a terminal does."""
    return begin_python("-m", "autoseg", *(str(word) for word in words))


def begin_python(*words):
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, *words], text=True, start_new_session=True, **streams)


def wait_for(there, process):
    """Wait until something is there, or the command has ended."""
    end = time.monotonic() + PATIENCE
    while not there() and process.poll() is None:
        assert time.monotonic() < end, "nothing came of the command"
        time.sleep(0.02)


def stop(process, number):
    """Signal the whole group, as Ctrl-C does; return exit status and what the command said."""
    if process.poll() is None:
        os.killpg(process.pid, number)
    _, said = process.communicate(timeout=PATIENCE)
    return process.returncode, said


def finish(*words):
    """Run the same command to its end."""
    process = begin(*words)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said


def unfinished(folder: Path):
    return list(folder.rglob(".partial-*"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_training_that_is_stopped_saves_and_goes_on(workspace, number):
    words = ["train-fold", workspace, "3d_fullres", 1, "--iterations", 400]
    fold = Workspace(workspace).fold("3d_fullres", 1)
    process = begin(*words)
    wait_for(fold.metrics.exists, process)
    status, said = stop(process, number)
    assert status == 130 and "run the same command again to continue" in said and "Traceback" not in said
    assert fold.resume_state.exists() and not fold.model.exists()
    assert not unfinished(workspace)
    finish(*words)
    assert fold.model.exists() and fold.summary.exists() and not fold.resume_state.exists()


@pytest.mark.slow
def test_a_training_that_is_killed_goes_on_from_its_last_checkpoint(workspace):
    # A command saves every two minutes, which is too seldom for a test; the function behind it takes any interval.
    often = f"autoseg.train_fold({str(workspace)!r}, '3d_fullres', 1, iterations=1000, checkpoint_seconds=0.2)"
    words = ["train-fold", workspace, "3d_fullres", 1, "--iterations", 1000]
    fold = Workspace(workspace).fold("3d_fullres", 1)
    process = begin_python("-c", f"import autoseg; {often}")
    wait_for(fold.resume_state.exists, process)
    status, _ = stop(process, signal.SIGKILL)
    assert status == -signal.SIGKILL
    process = begin(*words)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0 and "resuming after step" in said
    assert fold.model.exists() and not list(fold.root.glob("resume*"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_preprocessing_that_is_stopped_goes_on(phantoms, tmp_path, number):
    work = tmp_path / "work"
    words = ["plan-and-preprocess", phantoms, "-w", work, "--time-budget", "1h", "--workers", 0]
    process = begin(*words)
    wait_for(lambda: any(work.rglob("*_seg.b2nd")), process)
    status, said = stop(process, number)
    if number == signal.SIGINT:
        assert status == 130 and "interrupted; run the same command again" in said and "Traceback" not in said
        assert not unfinished(work)
    finish(*words)
    # Every case for the volumes and for the slices, or once where they share their data.
    # What a killed process left unfinished is not one of them.
    assert len(set(work.rglob("*_seg.b2nd")) - set(unfinished(work))) % 6 == 0


@pytest.mark.slow
def test_a_prediction_that_is_stopped_goes_on(trained, phantoms, tmp_path):
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    for copy in range(60):
        for path in (phantoms / "imagesTs").glob("phantom_006_*"):
            (images / path.name.replace("phantom_006", f"copy_{copy:03d}")).symlink_to(path)
    words = ["predict-folder", trained, images, out]
    process = begin(*words)
    wait_for(lambda: any(out.glob("copy_*.nii.gz")), process)
    status, said = stop(process, signal.SIGINT)
    assert status == 130 and "Traceback" not in said
    done = {path: path.stat().st_mtime_ns for path in out.glob("copy_*.nii.gz")}
    assert 0 < len(done) < 60 and not unfinished(out)
    finish(*words)
    assert len(list(out.glob("copy_*.nii.gz"))) == 60
    assert all(path.stat().st_mtime_ns == before for path, before in done.items())
