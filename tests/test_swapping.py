"""What a plan's swap means for outputs and labels."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from autoseg.dataset import Dataset
from autoseg.errors import PlanError
from autoseg.plan import Configuration, Plan, Swap, Training, read_plan, write_plan
from autoseg.swapping import Swapping, label_swap, plan_swapping

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
SWAP = Swap(2, KIDNEYS)
PLAN = Plan(1, "made", "unet", (0, 1, 2), (0, 1, 2), {"2d": SLICES, "3d_fullres": FULLRES}, swap=SWAP)
ORGANS = Dataset(
    "made", ("CT",), {"background": 0, "kidney_left": 2, "liver": 3, "kidney_right": 7}, ".nii.gz", (), sides=KIDNEYS
)
SOURCE = Path("plan.json")


def regions(**values):
    order = tuple(listed[-1] for listed in values.values())
    return replace(ORGANS, labels={}, regions=values, region_order=order)


def swapping(configuration=FULLRES, dataset=ORGANS, **changes):
    return plan_swapping(replace(PLAN, **changes), configuration, dataset, source=SOURCE)


def test_classes_change_places_in_outputs_and_labels():
    assert swapping() == Swapping(axis=2, outputs=(0, 3, 2, 1), labels=(0, 3, 2, 1, -1))
    assert swapping(SLICES) == Swapping(axis=1, outputs=(0, 3, 2, 1), labels=(0, 3, 2, 1, -1))


def test_nothing_changes_places_where_left_and_right_are_not_mirrored():
    assert swapping(swap=None) is None
    assert swapping(mirror_axes=(0, 1)) is None
    assert swapping(SLICES, swap=Swap(0, KIDNEYS)) is None, "slices have no such axis"
    assert swapping(swap=Swap(0, KIDNEYS)).axis == 0


def test_overlapping_regions_change_places_by_the_regions_that_values_belong_to():
    dataset = regions(body=(1, 2, 3, 4, 5), kidney_left=(1, 4), kidney_right=(2, 5))
    assert label_swap(dataset, KIDNEYS) == (0, 2, 1, 3, 5, 4)
    assert swapping(dataset=dataset) == Swapping(2, outputs=(0, 2, 1), labels=(0, 2, 1, 3, 5, 4, -1))


@pytest.mark.parametrize(
    "dataset",
    [
        regions(kidney_left=(1, 3), kidney_right=(2,)),
        regions(tumour=(1, 3), kidney_left=(1, 4), kidney_right=(2,)),
    ],
)
def test_regions_that_are_not_made_alike_cannot_change_places(dataset):
    assert label_swap(dataset, KIDNEYS) is None
    with pytest.raises(
        PlanError, match=r"plan\.json: field 'swap\.classes', found kidney_left and kidney_right, expected"
    ):
        swapping(dataset=dataset)


def test_a_class_that_the_dataset_does_not_have():
    with pytest.raises(PlanError, match=r"plan.json: field 'swap.classes', found 'lung_left', expected one of kidney"):
        swapping(swap=Swap(2, (("lung_left", "lung_right"),)))


@pytest.mark.parametrize(
    ("swap", "message"),
    [
        ({"axis": 3, "classes": [["a", "b"]]}, "field 'swap.axis', found 3, expected 0, 1 or 2"),
        ({"axis": "x", "classes": [["a", "b"]]}, "field 'swap.axis', found 'x'"),
        ({"axis": 2, "classes": []}, "field 'swap.classes', found none, expected pairs"),
        ({"axis": 2, "classes": [["a", "b"], ["c", "a"]]}, "field 'swap.classes', found 'a' twice"),
        ({"axis": 2, "classes": [["a", "b", "c"]]}, "field 'swap.classes.0"),
        ({"axis": 2, "classes": [["a", "b"]], "axes": [1]}, "field 'swap.axes'"),
        ([2], "field 'swap'"),
    ],
)
def test_faults_of_an_edited_swap(tmp_path, swap, message):
    path = tmp_path / "plan.json"
    write_plan(path, PLAN)
    assert read_plan(path) == PLAN
    path.write_text(json.dumps(json.loads(path.read_text()) | {"swap": swap}))
    with pytest.raises(PlanError, match=message) as caught:
        read_plan(path)
    assert "\n" not in str(caught.value)


def test_older_plans_swap_nothing(tmp_path):
    path = tmp_path / "plan.json"
    write_plan(path, PLAN)
    plain = json.loads(path.read_text())
    del plain["swap"]
    path.write_text(json.dumps(plain))
    assert read_plan(path) == replace(PLAN, swap=None)
