"""A package beside autoseg adds one of each by entry points alone, and the pipeline runs with them."""

from __future__ import annotations

import json
import subprocess
import sys


def run(environment, *words):
    """Run a command of autoseg to its end."""
    command = [sys.executable, "-m", "autoseg", *(str(word) for word in words)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_network_is_described_with_its_tap(installed):
    said = run(installed, "networks", "outside_net", "--patch", 16)
    assert "planners: outside_net" in said and "outside_net: Two convolutions." in said
    assert any(line.split() == ["first", "4", "16×16×16"] for line in said.splitlines()), said


def test_the_pipeline_runs_with_what_another_package_adds(installed, phantoms, tmp_path):
    description = json.loads((phantoms / "dataset.json").read_text())
    declared = {
        "normalization": {"T1": {"name": "outside_halved", "by": 50}},
        "extra_channels": {"ramp": {"name": "outside_ramp"}},
    }
    (phantoms / "dataset.json").write_text(json.dumps(description | declared))
    work, out = tmp_path / "work", tmp_path / "out"
    loss = '3d_fullres.loss={"name": "outside_loss"}'
    planned = ["plan-and-preprocess", phantoms, "-w", work, "-c", "3d_fullres", "--planner", "outside_net"]
    run(installed, *planned, "--set", loss, "--time-budget", "1h", "--workers", 0)
    plan = json.loads((work / "plan.json").read_text())
    configuration = plan["configurations"]["3d_fullres"]
    assert plan["planner"] == configuration["network"]["name"] == "outside_net"
    assert configuration["normalization"][0] == {"name": "outside_halved", "by": 50}
    assert configuration["extra_channels"]["ramp"]["cells"] > 1 and configuration["loss"] == {"name": "outside_loss"}
    run(installed, "train-fold", work, "3d_fullres", 0, "--iterations", 3, "--workers", 0)
    said = run(installed, "choose", work)
    ensemble = json.loads((work / "ensemble.json").read_text())
    assert ensemble["decoder"] != {"name": "outside_inverted"}
    assert {"outside_bright"} <= {step["name"] for step in ensemble["postprocessing"]["steps"]}, said
    assert "'above': 1000000.0" not in str(ensemble), "the best of the candidates was chosen"
    run(installed, "predict-folder", work, phantoms / "imagesTs", out)
    assert len(list(out.glob("*.nii.gz"))) == 2
