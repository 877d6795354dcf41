"""A plan that names the balanced sampler trains."""

from __future__ import annotations

import json

import pytest

from autoseg.learning.fold import train_fold
from autoseg.learning.setting import FoldRequest
from autoseg.workspace.paths import Workspace


@pytest.mark.slow
def test_a_plan_with_balanced_sampling_trains(workspace):
    place = Workspace(workspace)
    plan = json.loads(place.plan_file.read_text())
    plan["configurations"]["2d"]["sampling"] = {"name": "balanced", "fraction": 1.0}
    place.plan_file.write_text(json.dumps(plan))
    summary = train_fold(FoldRequest(place, "2d", 0, device="cpu", iterations=2))
    assert summary.cases
