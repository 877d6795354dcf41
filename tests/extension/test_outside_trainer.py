"""A trainer of another package with two streams, a teacher, a critic and a metric, through all commands."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
from safetensors.torch import load_file

TRAINER = "teacher_and_critic"
NAME = "3d_fullres"


def start(environment, *words):
    """Start a command of autoseg."""
    command = [sys.executable, "-m", "autoseg", *(str(word) for word in words)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run(environment, *words, status=0):
    """Run a command of autoseg to its end."""
    process = start(environment, *words)
    said = process.communicate()[0]
    assert process.returncode == status, said
    return said


@pytest.fixture
def planned(installed, half_labelled, tmp_path):
    """A workspace whose plan has the trainer, within 300 MB."""
    work = tmp_path / "work"
    words = ["plan-and-preprocess", half_labelled, "-w", work, "-c", NAME, "--trainer", TRAINER, "--memory", "300MB"]
    said = run(installed, *words, "--time-budget", "1h", "--speed", "reference", "--workers", 0, "--verify-memory")
    assert "planned" in said and "measured" in said
    configuration = json.loads((work / "plan.json").read_text())["configurations"][NAME]
    assert configuration["trainer"] == {"name": TRAINER}
    return work


def test_it_is_trained_killed_resumed_validated_chosen_exported_and_predicts(planned, installed, tmp_path):
    fold = planned / "models" / NAME / TRAINER / "fold_0"
    words = ["train-fold", planned, NAME, 0, "--iterations", 12, "--workers", 0]
    run(installed, *words)
    whole, lines = load_file(fold / "model.safetensors"), (fold / "metrics.jsonl").read_text()
    process = start(installed, *words, "--restart", "--checkpoint-every", "0.01s")
    while process.poll() is None:
        if (fold / "resume.json").exists():
            process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it was too fast to be killed"
    said = run(installed, *words)
    assert "resuming after step" in said
    again = load_file(fold / "model.safetensors")
    assert whole.keys() == again.keys() and all(whole[name].equal(again[name]) for name in whole)
    one, other = (json.loads(text.splitlines()[-1]) for text in (lines, (fold / "metrics.jsonl").read_text()))
    assert one | {"seconds": 0} == other | {"seconds": 0}
    assert one["losses"].keys() == {"segmentation", "consistency", "adversarial", "critic"}
    assert json.loads((fold / "validation" / "summary.json").read_text())["metrics"].keys() == {"agreement"}
    run(installed, "choose", planned)
    run(installed, "report", planned)
    assert "<th>consistency</th>" in (planned / "report.html").read_text().replace(' scope="col"', "")
    bundle = tmp_path / "bundle.zip"
    run(installed, "export", planned, bundle)
    run(installed, "predict-folder", bundle, planned.parent / "phantoms" / "imagesTs", tmp_path / "out")
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 2


def test_what_the_dataset_lacks_is_said_before_planning(installed, phantoms, tmp_path):
    words = ["plan-and-preprocess", phantoms, "-w", tmp_path / "w", "--trainer", TRAINER, "--workers", 0]
    said = run(installed, *words, status=2)
    assert f"trainer '{TRAINER}', stream 'unlabelled': dataset" in said
    assert "has no unlabelled cases; put images without label maps into the folder unlabelledTr" in said


def test_streams_that_do_not_fit_the_memory_are_named(installed, planned):
    said = run(installed, "plan", planned, "--set", f"{NAME}.patch_size=[64,128,128]", status=2)
    assert f"'configurations.{NAME}.patch_size'" in said or f"'configurations.{NAME}.batch_size'" in said
    assert f"with this network and the streams of trainer '{TRAINER}'" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": ["bottleneck", "decoder_9"]}, "taps: found 'decoder_9', expected one of: decoder_"),
        ({"consistency": -1.0}, "trainers 'teacher_and_critic', argument 'consistency': found -1.0"),
        (
            {"decays": 0.5},
            "trainers 'teacher_and_critic': got an unexpected keyword argument 'decays'",
        ),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(installed, planned, arguments, message):
    value = json.dumps({"name": TRAINER, **arguments})
    said = run(installed, "plan", planned, "--set", f"{NAME}.trainer={value}", status=2)
    assert message in said and "Traceback" not in said
