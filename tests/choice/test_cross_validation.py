from __future__ import annotations

import numpy as np
import pytest

from autoseg.choice import cross_validation
from autoseg.evaluation.metrics import evaluate_case
from autoseg.evaluation.summary import summarize
from autoseg.plan.files import PLAN_VERSION, write_plan
from autoseg.plan.schema import Configuration, Plan, Training
from autoseg.workspace.paths import Workspace


def configuration(dimension):
    return Configuration(
        dimension=dimension,
        spacing=(1.0, 1.0, 1.0),
        median_shape=(8, 8, 8),
        patch_size=(8,) * dimension,
        batch_size=2,
        normalization=({"name": "none"},),
        network={},
        loss={},
        sampling={},
        augmentation={},
        training=Training({}, {}, iterations=1),
    )


PLAN = Plan(
    PLAN_VERSION, "made", "unet", (0, 1, 2), (0, 1, 2), {"2d": configuration(2), "3d_fullres": configuration(3)}
)


@pytest.fixture
def workspace(tmp_path):
    workspace = Workspace(tmp_path)
    write_plan(workspace.plan_file, PLAN)
    return workspace


def metrics(right):
    """Metrics of a case in which ``right`` of ten voxels are found, and no others; None: the class is absent."""
    reference, prediction = np.zeros((2, 1, 1, 20), np.uint8)
    if right is not None:
        reference[..., :10], prediction[..., :right] = 1, 1
    return evaluate_case(prediction, reference, spacing=(1, 1, 1), classes={"a": (1,)})


def train(workspace, name, fold, **cases):
    folder = workspace.fold(name, fold)
    folder.root.mkdir(parents=True)
    folder.model.touch()
    if cases:
        summarize({case: metrics(right) for case, right in cases.items()}).write_json(folder.summary)


def test_the_cases_of_all_folds_count_alike(workspace):
    train(workspace, "2d", 0, a=10, b=10, c=10)
    train(workspace, "2d", 1, d=0)
    candidate = cross_validation(workspace, "2d")
    assert sorted(candidate.summary.cases) == ["a", "b", "c", "d"]
    assert candidate.folds == ("0", "1") and candidate.summary.mean_dice == 0.75


def test_fold_all_and_folds_not_validated_do_not_count(workspace):
    train(workspace, "2d", "all", a=10)
    train(workspace, "2d", 0)
    assert cross_validation(workspace, "2d") is None
