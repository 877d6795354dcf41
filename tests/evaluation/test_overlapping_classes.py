"""Metrics of classes that overlap, of voxels that are ignored, and of classes that were not annotated."""

from __future__ import annotations

import json
from dataclasses import astuple, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoseg.evaluation.folder import evaluate_folder
from autoseg.evaluation.metrics import evaluate_case
from autoseg.images.geometry import Geometry
from autoseg.images.volumes import write_labels

SPACING = (2.5, 0.8, 1.1)
NESTED = {"whole": (1, 2, 5), "core": (2, 5), "other": (3,), "enhancing": (5,)}

quick = settings(max_examples=25)
seeds = st.integers(0, 2**32 - 1)


def random_labels(seed, shape=(7, 8, 6)):
    return np.random.default_rng(seed).integers(0, 6, shape, dtype=np.uint8)


def same(one, other):
    return np.array_equal(astuple(one), astuple(other), equal_nan=True)


@given(seeds, seeds)
@quick
def test_each_region_is_measured_as_if_it_were_alone(one, other):
    prediction, reference = random_labels(one), random_labels(other)
    measured = evaluate_case(prediction, reference, spacing=SPACING, classes=NESTED)
    assert list(measured) == list(NESTED)
    for name, values in NESTED.items():
        masks = [np.isin(labels, values).astype(np.uint8) for labels in (prediction, reference)]
        assert same(measured[name], evaluate_case(*masks, spacing=SPACING, classes={"it": (1,)})["it"])


@given(seeds, seeds)
@quick
def test_ignoring_is_being_background_in_both(one, other):
    prediction, reference = random_labels(one), random_labels(other)
    ignored = np.isin(reference, (4, 2))
    classes = {"a": (1,), "b": (3, 5)}
    measured = evaluate_case(prediction, reference, spacing=SPACING, classes=classes, ignore=(4, 2))
    cut = [np.where(ignored, 0, labels) for labels in (prediction, reference)]
    for name, metrics in evaluate_case(*cut, spacing=SPACING, classes=classes).items():
        outside = measured[name].true_negatives + measured[name].true_positives + measured[name].false_positives
        assert outside + measured[name].false_negatives == np.sum(~ignored), "ignored voxels are no true negatives"
        negatives = dict.fromkeys(("true_negatives", "specificity", "accuracy", "mcc"), 0)
        assert same(replace(measured[name], **negatives), replace(metrics, **negatives))


def test_ignored_halves_count_as_if_they_were_not_there():
    prediction, reference = random_labels(0), random_labels(1)
    whole = reference.copy()
    whole[4:] = 99
    measured = evaluate_case(prediction, whole, spacing=SPACING, classes=NESTED, ignore=(99,))
    for name, metrics in evaluate_case(prediction[:4], reference[:4], spacing=SPACING, classes=NESTED).items():
        assert same(measured[name], metrics), "surfaces too: the border of the image is one as well"


def test_a_prediction_in_ignored_voxels_costs_nothing():
    reference = np.zeros((6, 6, 6), np.uint8)
    reference[1:4, 1:5, 1:5] = 1
    reference[4:] = 7
    prediction = np.where(reference == 7, 1, reference)
    metrics = evaluate_case(prediction, reference, spacing=SPACING, classes={"a": (1,)}, ignore=(7,))["a"]
    assert (metrics.dice, metrics.hd95, metrics.volume_difference) == (1, 0, 0)


def write(folder, **maps):
    folder.mkdir()
    for name, array in maps.items():
        geometry = Geometry(array.shape, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel()))
        write_labels(folder / f"{name}.nii.gz", array, geometry)
    return folder


def test_a_folder_is_measured_by_what_dataset_json_says(tmp_path):
    reference = random_labels(0)
    prediction = np.where(reference == 4, 1, reference)
    predictions = write(tmp_path / "predictions", x=prediction, y=prediction)
    references = write(tmp_path / "references", x=reference, y=reference)
    path = tmp_path / "dataset.json"
    labels = {"background": 0, "whole": [1, 2, 5], "core": [2, 5], "other": 3, "ignore": 4}
    fields = {"labels": labels, "regions_class_order": [1, 2, 3], "annotated": {"x": ["core", "other"]}}
    path.write_text(json.dumps(fields))
    summary = evaluate_folder(predictions, references, dataset=path)
    assert {case: list(measured) for case, measured in summary.cases.items()} == {
        "x": ["core", "other"],
        "y": ["whole", "core", "other"],
    }
    assert summary.mean_dice == pytest.approx(1), "what differs is ignored"
    assert summary.classes["whole"]["dice"].count == 1
