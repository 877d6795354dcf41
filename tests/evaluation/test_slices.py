"""Dice per slice and over all voxels, and their way through a folder."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoseg.errors import DatasetError
from autoseg.evaluation.folder import evaluate_folder
from autoseg.evaluation.metrics import evaluate_case
from autoseg.evaluation.settings import MetricSettings
from autoseg.evaluation.slices import measure_slices
from autoseg.evaluation.summary import read_summary
from autoseg.images.geometry import Geometry
from autoseg.images.volumes import write_labels

NESTED = {"whole": (1, 2), "core": (2,), "other": (3,)}
seeds = st.integers(0, 2**32 - 1)


def random_labels(seed, shape=(6, 5, 4), count=5):
    return np.random.default_rng(seed).integers(0, count, shape, dtype=np.uint8)


def write(folder, **maps):
    folder.mkdir()
    for name, array in maps.items():
        geometry = Geometry(array.shape, (3.0, 1.0, 1.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel()))
        write_labels(folder / f"{name}.nii.gz", array, geometry)
    return folder


@given(seeds, seeds)
@settings(max_examples=20)
def test_each_slice_is_measured_as_a_case_would_be(one, other):
    prediction, reference = random_labels(one), random_labels(other)
    found = measure_slices(prediction, reference, classes=NESTED, ignore=(4,))
    for index in range(len(reference)):
        plane = slice(index, index + 1)
        case = evaluate_case(prediction[plane], reference[plane], spacing=(1, 1, 1), classes=NESTED, ignore=(4,))
        for name, metrics in case.items():
            rows = [row for row in found[name] if row.slice == index]
            if np.isnan(metrics.dice):
                assert not rows
            else:
                assert rows[0].dice == metrics.dice
                assert rows[0].false_positives == metrics.false_positives


@pytest.mark.parametrize(
    ("rule", "expected"), [("nan", [1, 0]), ("omit", [1]), ("one", [1, 0, 1]), ("zero", [1, 0, 0])]
)
def test_empty_slices_follow_the_rule(rule, expected):
    reference, prediction = np.zeros((2, 3, 4, 4), dtype=np.uint8)
    reference[0], prediction[:2] = 1, 1
    rows = measure_slices(prediction, reference, classes={"a": (1,)}, empty=rule)["a"]
    assert [row.dice for row in rows] == expected


@pytest.fixture
def folders(tmp_path):
    one, other = random_labels(1), random_labels(2)
    return (
        write(tmp_path / "predictions", small=one[:, :2], large=one),
        write(tmp_path / "references", small=other[:, :2], large=other),
    )


def test_pooled_dice_is_that_of_all_voxels_together(folders):
    summary = evaluate_folder(*folders)
    pairs = [[random_labels(seed)[:, :rows].ravel() for rows in (2, 5)] for seed in (1, 2)]
    prediction, reference = (np.concatenate(parts)[None, None] for parts in pairs)
    whole = evaluate_case(prediction, reference, spacing=(1, 1, 1), classes={"label_1": (1,)})["label_1"]
    pooled = summary.pooled["label_1"]
    assert (pooled.dice, pooled.mcc) == (whole.dice, whole.mcc)
    assert pooled.specificity == whole.specificity
    assert pooled.dice != summary.classes["label_1"]["dice"].mean
    assert summary.pooled_dice == pytest.approx(np.mean([scores.dice for scores in summary.pooled.values()]))


def test_slices_of_a_folder_are_written_and_summarized(folders, tmp_path):
    summary = evaluate_folder(*folders, slices_file=tmp_path / "slices.csv")
    with (tmp_path / "slices.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["case"] for row in rows} == {"small", "large"}
    dice = [float(row["dice"]) for row in rows if row["class"] == "label_2"]
    found = summary.slices["label_2"]
    assert found.count == len(dice) <= 12
    assert found.mean == pytest.approx(np.mean(dice))
    quartiles = found.lower_quartile, found.median, found.upper_quartile
    assert quartiles == pytest.approx(np.percentile(dice, (25, 50, 75)))
    summary.write_json(tmp_path / "summary.json")
    assert read_summary(tmp_path / "summary.json").slices == summary.slices


def test_several_values_are_ignored(folders):
    summary = evaluate_folder(*folders, ignore=(3, 4))
    assert list(summary.classes) == ["label_1", "label_2"]
    prediction, reference = random_labels(1), random_labels(2)
    known = ~np.isin(reference, (3, 4))
    masks = [(labels[known] == 1) for labels in (prediction, reference)]
    metrics = summary.cases["large"]["label_1"]
    assert metrics.dice == 2 * (masks[0] & masks[1]).sum() / (masks[0].sum() + masks[1].sum())
    assert metrics.true_negatives == (~masks[0] & ~masks[1]).sum()


def test_a_class_that_is_ignored_is_refused(folders, tmp_path):
    path = tmp_path / "dataset.json"
    path.write_text('{"labels": {"background": 0, "organ": 1, "ignore": 4}}')
    assert list(evaluate_folder(*folders, dataset=path, ignore=(3,)).classes) == ["organ"]
    with pytest.raises(DatasetError, match="'organ' has the value 1, which is ignored"):
        evaluate_folder(*folders, dataset=path, ignore=(1,))


def test_settings_are_kept(folders, tmp_path):
    settings = MetricSettings(tolerance=1.0, empty="one")
    strict = evaluate_folder(*folders, settings=settings)
    strict.write_json(tmp_path / "summary.json")
    assert read_summary(tmp_path / "summary.json").settings == settings
    lenient = evaluate_folder(*folders, settings=MetricSettings(tolerance=3.0))
    assert strict.cases["large"]["label_1"].nsd < lenient.cases["large"]["label_1"].nsd
