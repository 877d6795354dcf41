"""Regions, ignored voxels and partial annotations through the whole pipeline, on made phantoms."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import blosc2
import numpy as np
import pytest

import autoseg
from autoseg.errors import PlanError
from autoseg.evaluation.folder import evaluate_folder
from autoseg.files.records import to_plain
from autoseg.images.volumes import read_labels, write_labels
from autoseg.inference.folder import predict_folder
from autoseg.preprocessing.store import open_case

BODY, CORE, UNKNOWN = 1, 2, 255
FAST = {"name": "muon", "learning_rate": 0.02, "vector_learning_rate": 0.01}
STEPS = 60


@dataclass(frozen=True)
class Kind:
    """A dataset made of the phantoms: its description, and what is done to the label map of a case."""

    description: dict[str, Any]
    relabel: Any
    tested: Any = lambda labels, number: labels
    """The same for the test cases, of which everything is known."""


def a_few_slices(labels, number):
    """Annotate every third slice alone."""
    kept = np.full_like(labels, UNKNOWN)
    kept[number % 3 :: 3] = labels[number % 3 :: 3]
    return kept


def core_in_every_other_case(labels, number):
    return np.where(labels == CORE, 0, labels) if number % 2 else labels


def four_tissues(labels, number):
    """Values as in BraTS: 1 necrosis, 2 oedema, 3 enhancing; here the body, and the core in two halves."""
    made = np.where(labels == BODY, 2, labels * 0)
    made[labels == CORE] = 1
    made[: len(labels) // 2][labels[: len(labels) // 2] == CORE] = 3
    return made


KINDS = {
    "regions": Kind(
        {
            "labels": {"background": 0, "whole": [1, 2, 3], "core": [1, 3], "enhancing": 3},
            "regions_class_order": [2, 1, 3],
        },
        four_tissues,
        four_tissues,
    ),
    "sparse": Kind({"labels": {"background": 0, "body": BODY, "core": CORE, "ignore": [7, UNKNOWN]}}, a_few_slices),
    "partial": Kind(
        {
            "labels": {"background": 0, "body": BODY, "core": CORE},
            "annotated": {f"phantom_{number:03d}": ["body"] for number in (1, 3, 5)},
        },
        core_in_every_other_case,
    ),
    "partial regions": Kind(
        {
            "labels": {"background": 0, "whole": [1, 2], "core": 2},
            "regions_class_order": [1, 2],
            "annotated": {f"phantom_{number:03d}": ["whole"] for number in (1, 3, 5)},
        },
        lambda labels, number: np.minimum(labels, BODY) if number % 2 else labels,
    ),
    "sparse regions": Kind(
        {
            "labels": {"background": 0, "whole": [1, 2], "core": [2], "ignore": UNKNOWN},
            "regions_class_order": [1, 2],
        },
        a_few_slices,
    ),
}  # fmt: skip


def make(kind, phantoms):
    """Turn the phantoms into a dataset of another kind."""
    path = phantoms / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | kind.description))
    for part, change in (("labelsTr", kind.relabel), ("labelsTs", kind.tested)):
        for number, file in enumerate(sorted((phantoms / part).iterdir())):
            labels, geometry = read_labels(file)
            write_labels(file, change(labels, number), geometry)
    return phantoms


def planned(phantoms, folder, shrink_plan):
    workspace = autoseg.plan_and_preprocess(
        phantoms, workspace=folder, configurations=["3d_fullres"], time_budget=3600.0, workers=0
    )
    training = workspace.plan().configuration("3d_fullres").training
    shrink_plan(workspace.plan_file, training={**to_plain(training), "optimizer": FAST})
    return workspace


@pytest.mark.parametrize("name", KINDS)
def test_planned_trained_validated_and_predicted(name, phantoms, tmp_path, shrink_plan):
    kind = KINDS[name]
    workspace = planned(make(kind, phantoms), tmp_path / "workspace", shrink_plan)
    dataset = workspace.dataset()
    summary = autoseg.train_fold(workspace.root, "3d_fullres", 0, iterations=STEPS)
    for case, measured in summary.cases.items():
        assert list(measured) == list(dataset.annotated_classes(case))
    chosen = autoseg.choose(workspace.root, predict=False, workers=0)
    assert list(chosen.best.classes) == list(dataset.classes)
    assert chosen.best.dice == pytest.approx(summary.mean_dice, abs=0.01)
    assert {name: found.count for name, found in chosen.best.classes.items()} == {
        name: summary.classes[name]["dice"].count if name in summary.classes else 0 for name in dataset.classes
    }
    predict_folder(workspace.root, phantoms / "imagesTs", tmp_path / "out", save_probabilities=True)
    for path in (tmp_path / "out").glob("*.nii.gz"):
        assert set(np.unique(read_labels(path)[0])) <= {0, *dataset.values}
        probabilities = blosc2.open(str(path).replace(".nii.gz", "_probabilities.b2nd"))[:]
        assert probabilities.shape[0] == dataset.outputs
    tested = evaluate_folder(tmp_path / "out", phantoms / "labelsTs", dataset=phantoms / "dataset.json")
    assert list(tested.classes) == list(dataset.classes)
    largest = next(iter(tested.classes.values()))
    assert largest["dice"].mean > 0.5


def test_sparse_cases_are_stored_with_the_voxels_that_someone_annotated(phantoms, tmp_path, shrink_plan):
    workspace = planned(make(KINDS["sparse"], phantoms), tmp_path / "workspace", shrink_plan)
    plan = workspace.plan()
    case = open_case(workspace.data(plan, plan.configuration("3d_fullres")), "phantom_000")
    labels = case.labels[:]
    assert {-1, 0, 1} <= set(np.unique(labels)) <= {-1, 0, 1, 2}
    assert (labels[tuple(case.annotated.T)] >= 0).all()
    assert all((labels[tuple(voxels.T)] == number).all() for number, voxels in case.foreground.items())


def test_a_plan_for_other_labels_is_refused(phantoms, tmp_path, shrink_plan):
    workspace = planned(phantoms, tmp_path / "workspace", shrink_plan)
    make(KINDS["sparse"], phantoms)
    planned(phantoms, workspace.root, shrink_plan)
    with pytest.raises(PlanError, match=r"found ignore_index None, expected -1.*plan again with --replan"):
        autoseg.train_fold(workspace.root, "3d_fullres", 0, iterations=1)
