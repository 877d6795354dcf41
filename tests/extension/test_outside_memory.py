"""The planned memory of each trainer is that of its own step."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

import autoseg
from autoseg.demo.phantoms import write_phantoms
from autoseg.learning.costs.memory import batch_cost, step_cost
from autoseg.learning.costs.verification import verify_memory
from autoseg.learning.trainer import trainers

PATCH = [48, 64, 64]


@pytest.fixture
def place(installed, tmp_path, monkeypatch):
    """A workspace with unlabelled cases, and 16 features on patches of a usual size."""
    # The process that measures finds the package; this one must not, as all its other parts would stay registered.
    monkeypatch.setenv("PYTHONPATH", installed["PYTHONPATH"])
    spec = importlib.util.spec_from_file_location("outside_trainer", Path(__file__).with_name("outside_trainer.py"))
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "outside_trainer", module)
    spec.loader.exec_module(module)
    trainers.names()
    monkeypatch.setitem(trainers._implementations, "teacher_and_critic", module.TeacherAndCritic)
    write_phantoms(tmp_path / "data", training=4, testing=0, size=(8, 20, 20))
    (tmp_path / "data" / "unlabelledTr").mkdir()
    for image in (tmp_path / "data" / "imagesTr").glob("phantom_003_*"):
        image.rename(tmp_path / "data" / "unlabelledTr" / image.name)
    (tmp_path / "data" / "labelsTr" / "phantom_003.nii.gz").unlink()
    options = {"configurations": ["3d_fullres"], "time_budget": 3600.0, "speed": "reference", "workers": 0}
    return autoseg.plan_and_preprocess(tmp_path / "data", workspace=tmp_path / "w", **options)


def configured(place, trainer, **changes):
    plan = json.loads(place.plan_file.read_text())
    planned = plan["configurations"]["3d_fullres"]
    planned |= {"trainer": {"name": trainer}, "patch_size": PATCH, "precision": "float32", **changes}
    planned["network"]["features"] = [16, 32, 64]
    planned["network"] |= {"kernels": [[3, 3, 3]] * 3, "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]]}
    if trainer == "random_forest":
        planned["network"] = {"name": trainer, "features": 400}
    place.plan_file.write_text(json.dumps(plan))
    return place.plan().configuration("3d_fullres")


@pytest.mark.slow
@pytest.mark.parametrize("trainer", ["supervised", "teacher_and_critic", "random_forest"])
def test_planned_memory_is_that_of_the_trainers_step(place, trainer):
    found = verify_memory(configured(place, trainer, batch_size=8), place.dataset(), device="cpu")
    assert -0.15 < found.excess < 0.15, found


@pytest.mark.parametrize("batch", [1, 2, 6])
def test_streams_of_their_own_size_are_counted_for_every_batch(place, batch):
    """The unlabelled stream has half the batch, rounded down, in two views."""
    configuration = configured(place, "teacher_and_critic")
    cost = batch_cost(configuration, place.dataset())
    exact = step_cost(configuration, place.dataset(), batch_size=batch).peak_bytes
    assert cost.peak_bytes(batch) == exact
    assert cost.largest_batch(exact) == batch
    alone = batch_cost(configured(place, "supervised"), place.dataset())
    assert cost.peak_bytes(batch) > alone.peak_bytes(batch) and cost.flops(100) > 1.5 * alone.flops(100)
    assert cost.patches(100) == pytest.approx(200, abs=3) and alone.patches(100) == 100
