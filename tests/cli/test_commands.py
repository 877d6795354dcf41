from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

import autoseg
from autoseg.cli.main import main

COMMANDS = [
    "plan-and-preprocess", "train-fold", "predict-folder", "run", "check", "fingerprint", "plan", "preprocess",
    "evaluate", "choose", "export", "networks", "demo", "doctor",
]  # fmt: skip


def run(*words):
    with pytest.raises(SystemExit) as exit_:
        main([str(word) for word in words])
    return exit_.value.code or 0


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capfd):
    assert run(command, "-h") == 0
    assert "Usage: autoseg" in capfd.readouterr().out


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom autoseg.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'SimpleITK', 'scipy', 'matplotlib', 'numpy'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_what_is_done_already_loads_no_torch(made_once):
    code = (
        "import sys, autoseg\n"
        "autoseg.plan_and_preprocess(sys.argv[1], workspace=sys.argv[2], time_budget=3600.0, workers=0)\n"
        "sys.exit('torch is loaded' if 'torch' in sys.modules else 0)"
    )
    words = [sys.executable, "-c", code, made_once / "phantoms", made_once / "workspace"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_doctor_says_what_there_is(capfd):
    assert run("doctor") == 0
    said = capfd.readouterr().out
    for word in ("cpu", "bfloat16", "memory", "torch", "disk"):
        assert word in said


def test_the_steps_alone_leave_what_training_needs(workspace, capfd):
    written = [workspace / name for name in ("plan.json", "splits.json")]
    folds = written[1].read_text()
    for path in written:
        path.unlink()
    assert run("plan", workspace, "-c", "2d", "--time-budget", "1m") == 0
    assert run("preprocess", workspace, "--workers", 0) == 0
    assert all(path.exists() for path in written) and written[1].read_text() == folds
    assert "plan.json" in capfd.readouterr().out


def test_evaluate_writes_tables(trained, phantoms, capfd):
    predictions = trained / "models/3d_fullres/supervised/fold_0/validation"
    out = trained / "metrics"
    status = run("evaluate", predictions, phantoms / "labelsTr", "--dataset", phantoms / "dataset.json", "-o", out)
    assert status == 0 and "mean Dice" in capfd.readouterr().out
    ours, theirs = (json.loads((folder / "summary.json").read_text()) for folder in (out, predictions))
    assert ours == theirs
    assert (out / "summary.csv").read_text().startswith("case,class,dice,iou")


def test_a_perfect_prediction_is_perfect(phantoms, tmp_path, capfd):
    assert run("evaluate", phantoms / "labelsTr", phantoms / "labelsTr", "-o", tmp_path, "--workers", 0) == 0
    assert "mean Dice 1.0000" in capfd.readouterr().out


def test_run_does_everything_and_then_nothing_again(workspace, phantoms, capfd):
    words = ["run", phantoms, "-w", workspace, "--iterations", 1, "--workers", 0]
    assert run(*words) == 0
    said = capfd.readouterr()
    assert "chosen: " in said.out and "mean Dice" in said.out
    models = sorted(workspace.rglob("model.safetensors"))
    assert len(models) == 10
    before = [path.stat().st_mtime_ns for path in models]
    assert run(*words) == 0
    assert [path.stat().st_mtime_ns for path in models] == before


def test_planning_again_keeps_an_edited_plan(workspace, phantoms):
    edited = (workspace / "plan.json").read_text()
    assert run("plan-and-preprocess", phantoms, "-w", workspace, "--workers", 0) == 0
    assert (workspace / "plan.json").read_text() == edited
    assert run("plan-and-preprocess", phantoms, "-w", workspace, "--workers", 0, "--time-budget", "2h") == 0
    assert json.loads((workspace / "plan.json").read_text())["request"]["time_budget"] == 7200


def test_two_folders_are_a_dataset(phantoms, tmp_path, capfd):
    words = ["plan-and-preprocess", "--images", phantoms / "imagesTr", "--labels", phantoms / "labelsTr"]
    assert run(*words, "-w", tmp_path / "work", "--workers", 0, "--time-budget", "1h") == 0
    dataset = json.loads((tmp_path / "work" / "dataset.json").read_text())
    assert dataset["labels"] == {"background": 0, "label_1": 1, "label_2": 2}


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.6, 1.2, 2.0])
def test_an_interrupted_preprocessing_goes_on(phantoms, tmp_path, seconds):
    command = [sys.executable, "-m", "autoseg", "plan-and-preprocess", str(phantoms), "-w", str(tmp_path / "work")]
    command += ["--time-budget", "1h", "--workers", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert not list(tmp_path.rglob(".partial-*"))
    subprocess.run(command, check=True, capture_output=True)
    stored = list((tmp_path / "work" / "preprocessed").rglob("*_seg.b2nd"))
    assert len(stored) >= 6


def test_the_public_names_are_there():
    for name in autoseg.__all__:
        assert callable(getattr(autoseg, name))
