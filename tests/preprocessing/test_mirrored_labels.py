"""What a plan's mirrored classes mean for outputs and labels."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from autoseg.data.dataset import Dataset
from autoseg.errors import PlanError
from autoseg.plan.files import PLAN_VERSION, read_plan, write_plan
from autoseg.plan.schema import Configuration, MirroredClasses, Plan, Training
from autoseg.preprocessing.mirrored_labels import MirroredLabels, mirrored_indices, plan_mirrored_labels

FULLRES = Configuration(
    dimension=3,
    spacing=(1.0, 1.0, 1.0),
    median_shape=(16, 16, 16),
    patch_size=(16, 16, 16),
    batch_size=2,
    normalization=({"name": "z_score", "masked": False},),
    network={"name": "unet"},
    loss={"name": "dice_cross_entropy"},
    sampling={"name": "foreground", "fraction": 0.33},
    augmentation={"name": "default"},
    training=Training(optimizer={"name": "sgd"}, schedule={"name": "polynomial"}, iterations=10),
)
SLICES = replace(FULLRES, dimension=2, patch_size=(16, 16))
KIDNEYS = (("kidney_left", "kidney_right"),)
SWAP = MirroredClasses(2, KIDNEYS)
PLAN = Plan(
    PLAN_VERSION, "made", "unet", (0, 1, 2), (0, 1, 2), {"2d": SLICES, "3d_fullres": FULLRES}, mirrored_classes=SWAP
)
ORGANS = Dataset(
    "made", ("CT",), {"background": 0, "kidney_left": 2, "liver": 3, "kidney_right": 7}, ".nii.gz", (), sides=KIDNEYS
)
SOURCE = Path("plan.json")


def regions(**values):
    order = tuple(listed[-1] for listed in values.values())
    return replace(ORGANS, labels={}, regions=values, region_order=order)


def mirrored_labels(configuration=FULLRES, dataset=ORGANS, **changes):
    return plan_mirrored_labels(replace(PLAN, **changes), configuration, dataset, source=SOURCE)


def test_classes_change_places_in_outputs_and_labels():
    assert mirrored_labels() == MirroredLabels(axis=2, outputs=(0, 3, 2, 1), labels=(0, 3, 2, 1, -1))
    assert mirrored_labels(SLICES) == MirroredLabels(axis=1, outputs=(0, 3, 2, 1), labels=(0, 3, 2, 1, -1))


def test_nothing_changes_places_where_left_and_right_are_not_mirrored():
    assert mirrored_labels(mirrored_classes=None) is None
    assert mirrored_labels(mirror_axes=(0, 1)) is None
    assert mirrored_labels(SLICES, mirrored_classes=MirroredClasses(0, KIDNEYS)) is None, "slices have no such axis"
    assert mirrored_labels(mirrored_classes=MirroredClasses(0, KIDNEYS)).axis == 0


def test_overlapping_regions_change_places_by_the_regions_that_values_belong_to():
    dataset = regions(body=(1, 2, 3, 4, 5), kidney_left=(1, 4), kidney_right=(2, 5))
    assert mirrored_indices(dataset, KIDNEYS) == (0, 2, 1, 3, 5, 4)
    assert mirrored_labels(dataset=dataset) == MirroredLabels(2, outputs=(0, 2, 1), labels=(0, 2, 1, 3, 5, 4, -1))


@pytest.mark.parametrize(
    "dataset",
    [
        regions(kidney_left=(1, 3), kidney_right=(2,)),
        regions(tumour=(1, 3), kidney_left=(1, 4), kidney_right=(2,)),
    ],
)
def test_regions_that_are_not_made_alike_cannot_change_places(dataset):
    assert mirrored_indices(dataset, KIDNEYS) is None
    with pytest.raises(
        PlanError, match=r"plan\.json: field 'mirrored_classes\.classes', found kidney_left and kidney_right, expected"
    ):
        mirrored_labels(dataset=dataset)


def test_a_class_that_the_dataset_does_not_have():
    with pytest.raises(
        PlanError, match=r"plan.json: field 'mirrored_classes.classes', found 'lung_left', expected one of kidney"
    ):
        mirrored_labels(mirrored_classes=MirroredClasses(2, (("lung_left", "lung_right"),)))


@pytest.mark.parametrize(
    ("mirrored_classes", "message"),
    [
        ({"axis": 3, "classes": [["a", "b"]]}, "field 'mirrored_classes.axis', found 3, expected 0, 1 or 2"),
        ({"axis": "x", "classes": [["a", "b"]]}, "field 'mirrored_classes.axis', found 'x'"),
        ({"axis": 2, "classes": []}, "field 'mirrored_classes.classes', found none, expected pairs"),
        ({"axis": 2, "classes": [["a", "b"], ["c", "a"]]}, "field 'mirrored_classes.classes', found 'a' twice"),
        ({"axis": 2, "classes": [["a", "b", "c"]]}, "field 'mirrored_classes.classes.0"),
        ({"axis": 2, "classes": [["a", "b"]], "axes": [1]}, "field 'mirrored_classes.axes'"),
        ([2], "field 'mirrored_classes'"),
    ],
)
def test_faults_of_an_edited_swap(tmp_path, mirrored_classes, message):
    path = tmp_path / "plan.json"
    write_plan(path, PLAN)
    assert read_plan(path) == PLAN
    path.write_text(json.dumps(json.loads(path.read_text()) | {"mirrored_classes": mirrored_classes}))
    with pytest.raises(PlanError, match=message) as caught:
        read_plan(path)
    assert "\n" not in str(caught.value)


def test_older_plans_swap_nothing(tmp_path):
    path = tmp_path / "plan.json"
    write_plan(path, PLAN)
    plain = json.loads(path.read_text())
    del plain["mirrored_classes"]
    path.write_text(json.dumps(plain))
    assert read_plan(path) == replace(PLAN, mirrored_classes=None)
