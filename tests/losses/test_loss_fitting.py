from __future__ import annotations

from dataclasses import replace

import pytest

from autoseg.data.dataset import Dataset
from autoseg.errors import PlanError
from autoseg.losses.fitting import check_loss
from autoseg.planners.recipe import objective

CLASSES = Dataset("c", ("CT",), {"background": 0, "a": 5, "b": 9}, ".nii.gz", ())
REGIONS = replace(CLASSES, name="r", labels={}, regions={"all": (5, 9), "b": (9,)}, region_order=(5, 9))
DATASETS = [replace(dataset, ignore=ignore) for dataset in (CLASSES, REGIONS) for ignore in ((), (3, 255))]


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("batch_dice", [False, True])
def test_what_the_planner_chooses_fits(dataset, batch_dice):
    spec = objective(dataset, batch_dice=batch_dice)
    check_loss(spec, dataset)
    assert spec["batch_dice"] is batch_dice
    assert spec.get("ignore_index") == (-1 if dataset.ignore else None)


def test_plain_classes_get_what_they_always_had():
    assert objective(CLASSES, batch_dice=True) == {"name": "dice_cross_entropy", "batch_dice": True}


def test_regions_are_named_by_their_places():
    assert objective(REGIONS, batch_dice=False)["regions"] == [[1, 2], [2]]


@pytest.mark.parametrize(
    ("made_for", "used_on", "message"),
    [
        (CLASSES, REGIONS, "found a loss for classes that exclude each other, expected a loss for regions"),
        (REGIONS, CLASSES, "found a loss for regions that may overlap, expected a loss for classes"),
        (REGIONS, replace(REGIONS, regions={"all": (5, 9), "a": (5,)}), r"found regions \[\[1, 2\], \[2\]\], expected"),
        (CLASSES, DATASETS[1], "found ignore_index None, expected -1"),
        (REGIONS, DATASETS[3], "found ignore_index None, expected -1"),
    ],
)
def test_a_loss_for_other_labels_is_refused(made_for, used_on, message):
    with pytest.raises(PlanError, match=f"{message}.*plan again with --replan") as raised:
        check_loss(objective(made_for, batch_dice=False), used_on)
    assert "\n" not in str(raised.value)


F_BETA = {"name": "f_beta", "beta": 2.0}
PLACES = {"regions": [[1, 2], [2]]}


@pytest.mark.parametrize(
    ("spec", "used_on"),
    [
        (F_BETA, CLASSES),
        (F_BETA | PLACES, REGIONS),
        (F_BETA | {"ignore_index": -1}, DATASETS[1]),
        ({"name": "sum", "of": [F_BETA | PLACES, {"name": "cross_entropy", "weight": 0.5} | PLACES]}, REGIONS),
        ({"name": "cross_entropy", "weights": [0.1, 1, 2]}, CLASSES),
    ],
)
def test_a_loss_by_name_fits_what_its_fields_say(spec, used_on):
    check_loss(spec, used_on)


@pytest.mark.parametrize(
    ("spec", "used_on", "message"),
    [
        (
            F_BETA,
            REGIONS,
            r"^loss 'f_beta': found a loss for classes .* set its field 'regions' to \[\[1, 2\], \[2\]\], or",
        ),
        (
            F_BETA | PLACES,
            CLASSES,
            r"^loss 'f_beta': found a loss for regions .* set its field 'regions' to null, or plan",
        ),
        (
            F_BETA | {"regions": [[1], [2]]},
            REGIONS,
            r"^loss 'f_beta': found regions \[\[1\], \[2\]\], expected \[\[1, 2\]",
        ),
        ({"name": "sum", "of": [F_BETA, F_BETA]}, REGIONS, r"^loss 'sum', 'of\[0\]', 'f_beta': found a loss for class"),
        (
            {"name": "sum", "of": [{"name": "sum", "of": [F_BETA]}]},
            REGIONS,
            r"^loss 'sum', 'of\[0\]', 'sum', 'of\[0\]', 'f_beta': found a loss for classes",
        ),
        (
            {"name": "sum", "of": [F_BETA | {"ignore_index": -1}, F_BETA]},
            DATASETS[1],
            r"^loss 'sum', 'of\[1\]', 'f_beta': found ignore_index None, expected -1",
        ),
        (
            {"name": "focal", "weights": [1, 2]},
            CLASSES,
            "^loss 'focal': found 2 weights, expected 3: one for the background",
        ),
    ],
)
def test_a_loss_by_name_that_does_not_fit_is_refused(spec, used_on, message):
    with pytest.raises(PlanError, match=message) as raised:
        check_loss(spec, used_on)
    assert "\n" not in str(raised.value)
