"""The table of many cases: its statistics, and its way through JSON and CSV."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace

import pytest

from autoseg.errors import WorkspaceError
from autoseg.evaluation.metrics import ClassMetrics
from autoseg.evaluation.summary import Summary, read_summary, summarize

NAN = float("nan")

HALF = ClassMetrics(
    dice=0.5,
    iou=1 / 3,
    precision=0.5,
    recall=0.5,
    hd95=4.0,
    assd=1.5,
    volume_difference=0.0,
    relative_volume_difference=0.0,
    true_positives=5,
    false_positives=5,
    false_negatives=5,
    reference_ml=0.01,
    predicted_ml=0.01,
)


def dice(value):
    return replace(HALF, dice=value)


@pytest.fixture
def summary():
    return summarize(
        {
            "anna": {"liver": dice(0.8), "tumour": dice(0.2)},
            "ben": {"liver": dice(0.9), "tumour": dice(NAN)},
            "carl": {"liver": dice(0.4), "tumour": replace(HALF, dice=0.0, hd95=NAN)},
        }
    )


def test_statistics_of_a_class_leave_out_what_is_not_defined(summary):
    liver, tumour = summary.classes["liver"]["dice"], summary.classes["tumour"]["dice"]
    assert (liver.mean, liver.median, liver.count) == (pytest.approx(0.7), 0.8, 3)
    assert liver.sd == pytest.approx(math.sqrt(0.07))
    assert (tumour.mean, tumour.count) == (pytest.approx(0.1), 2)
    assert summary.classes["tumour"]["hd95"].count == 2


def test_cases_that_are_missing_are_named(summary, tmp_path):
    found = replace(summary, not_validated=("dora", "emil"), not_mirrored=("ben",))
    found.write_json(tmp_path / "summary.json")
    read = read_summary(tmp_path / "summary.json")
    assert (read.not_validated, read.not_mirrored) == (found.not_validated, found.not_mirrored)
    assert not {"not_validated", "not_mirrored"} & summary.to_json().keys()


def test_the_mean_dice_is_that_of_the_classes_means(summary):
    assert summary.mean_dice == pytest.approx((0.7 + 0.1) / 2)


def test_a_class_in_no_case_is_left_out_of_the_mean():
    summary = summarize({"anna": {"liver": dice(0.8), "spleen": dice(NAN)}})
    assert summary.mean_dice == 0.8
    assert math.isnan(summary.classes["spleen"]["dice"].mean)
    assert math.isnan(summary.classes["liver"]["dice"].sd)


def test_no_cases_have_no_mean():
    assert math.isnan(summarize({}).mean_dice)


def test_json_is_strict_and_gives_the_same_summary_back(summary, tmp_path):
    path = tmp_path / "summary.json"
    summary.write_json(path)
    plain = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert plain["cases"]["ben"]["tumour"]["dice"] is None
    again = read_summary(path)
    assert again.to_json() == summary.to_json()
    assert isinstance(again.cases["anna"]["liver"], ClassMetrics)
    assert math.isnan(again.cases["ben"]["tumour"].dice)


def test_a_summary_of_an_earlier_version_is_read(summary):
    plain = summary.to_json()
    for name in ("pooled", "slices", "settings"):
        del plain[name]
    for classes in plain["cases"].values():
        for metrics in classes.values():
            for name in ("hd", "nsd", "specificity", "accuracy", "mcc", "true_negatives"):
                del metrics[name]
    again = Summary.from_json(plain)
    assert again.mean_dice == summary.mean_dice
    assert again.pooled["liver"].dice == 0.5
    assert math.isnan(again.pooled["liver"].specificity) and math.isnan(again.classes["liver"]["nsd"].mean)


def test_csv_has_a_row_for_each_case_and_class(summary, tmp_path):
    summary.write_csv(tmp_path / "summary.csv")
    with (tmp_path / "summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["class"]) for row in rows[:3]] == [
        ("anna", "liver"),
        ("anna", "tumour"),
        ("ben", "liver"),
    ]
    assert [row["dice"] for row in rows] == ["0.8", "0.2", "0.9", "", "0.4", "0.0"]
    assert rows[0]["true_positives"] == "5"


def test_a_file_that_is_no_summary_is_named(summary, tmp_path):
    with pytest.raises(WorkspaceError, match="field 'cases', found no metrics"):
        Summary.from_json([])
    plain = summary.to_json()
    plain["cases"]["ben"]["liver"]["dice"] = "good"
    with pytest.raises(WorkspaceError, match=r"old\.json: .*ben\.liver\.dice.*'good'"):
        Summary.from_json(plain, source="old.json")
