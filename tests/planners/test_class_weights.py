"""Weights of classes by inverse frequency, from the fingerprint to the plan."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from autoseg.api import plan_dataset
from autoseg.data.dataset import Dataset
from autoseg.errors import PlanError
from autoseg.fingerprint.record import CaseMeasure, Fingerprint
from autoseg.losses import losses
from autoseg.planners.class_weights import inverse_frequencies, with_numbers
from autoseg.planners.edits import edited
from autoseg.workspace.paths import Workspace

PLACE = "field '2d.loss"
DATASET = Dataset("made", ("CT",), {"background": 0, "liver": 1, "tumour": 2, "never": 3}, ".nii.gz", ())


def fingerprint(*voxels, spacings=((1.0, 1.0, 1.0), (1.0, 1.0, 1.0))):
    """Cases of 1000 voxels after cropping, with so many of each class."""
    measures = [
        CaseMeasure(f"case_{number}", "", (20, 20, 20), (10, 10, 10), spacing, counts)
        for number, (counts, spacing) in enumerate(zip(voxels, spacings, strict=True))
    ]
    return Fingerprint(tuple(measures), ())


SEEN = fingerprint({"liver": 300, "tumour": 0, "never": 0}, {"liver": 100, "tumour": 20, "never": 0})


def test_share_times_weight_is_the_same_for_every_class():
    weights = inverse_frequencies(DATASET, SEEN)
    shares = np.array([1580, 400, 20, 20]) / 2000
    assert weights * shares == pytest.approx(np.full(4, 1 / 4), rel=1e-3)


def test_a_class_that_no_case_has_weighs_as_the_rarest_does():
    weights = inverse_frequencies(DATASET, SEEN)
    assert weights[3] == weights[2] == max(weights)


def test_large_voxels_count_as_the_many_that_they_become():
    seen = fingerprint(
        {"liver": 300, "tumour": 0}, {"liver": 0, "tumour": 300}, spacings=((1.0, 1.0, 1.0), (9.0, 1.0, 1.0))
    )
    _, liver, tumour, _ = inverse_frequencies(DATASET, seen)
    assert liver / tumour == pytest.approx(9, rel=1e-3)


def test_only_cases_in_which_a_class_was_annotated_tell_its_share():
    partly = replace(DATASET, annotated={"case_0": ("liver",)})
    weights = inverse_frequencies(partly, SEEN)
    assert weights[2] == pytest.approx(1 / (4 * 20 / 1000), rel=1e-3)


def test_weights_become_numbers_in_every_part_of_a_sum():
    spec = {"name": "sum", "of": [{"name": "cross_entropy", "weights": "inverse_frequency"}, {"name": "mcc"}]}
    found = with_numbers(spec, DATASET, SEEN, place=PLACE)
    assert found["of"][0]["weights"] == inverse_frequencies(DATASET, SEEN) and found["of"][1] == {"name": "mcc"}
    losses.build(found)


def test_losses_without_such_weights_stay_as_they_are():
    for spec in ({"name": "mcc"}, {"name": "focal", "weights": [1, 2]}):
        assert with_numbers(spec, DATASET, SEEN, place=PLACE) == spec


def test_regions_have_no_such_weights():
    regions = replace(DATASET, labels={}, regions={"all": (1, 2), "b": (2,)}, region_order=(1, 2))
    with pytest.raises(PlanError, match=r"^field '2d.loss.weights', found 'inverse_frequency', expected null: dataset"):
        with_numbers({"name": "focal", "weights": "inverse_frequency"}, regions, SEEN, place=PLACE)


def test_the_plan_holds_numbers(made_once):
    place = Workspace(made_once / "workspace")
    spec = '3d_fullres.loss={"name": "cross_entropy", "weights": "inverse_frequency"}'
    changed = edited(place.plan(), [spec], place.dataset(), place.fingerprint())
    weights = changed.configuration("3d_fullres").loss["weights"]
    assert len(weights) == place.dataset().outputs and min(weights) == weights[0] < 1 < max(weights)
    with pytest.raises(PlanError, match="'weights': found 'inverse_frequency', expected numbers; run 'autoseg plan"):
        edited(place.plan(), [spec], place.dataset())


def test_a_loss_that_does_not_fit_the_dataset_is_refused_when_it_is_set(made_once):
    place = Workspace(made_once / "workspace")
    with pytest.raises(PlanError, match=r"^field 'configurations.3d_fullres': loss 'mcc': found a loss for regions"):
        edited(place.plan(), ['3d_fullres.loss={"name": "mcc", "regions": [[1]]}'], place.dataset())


def test_what_a_person_wrote_into_the_plan_becomes_numbers(workspace):
    place = Workspace(workspace)
    plan = json.loads(place.plan_file.read_text())
    plan["configurations"]["2d"]["loss"] = {"name": "focal", "weights": "inverse_frequency"}
    place.plan_file.write_text(json.dumps(plan))
    plan_dataset(place.dataset(), place.fingerprint(), place, replan=False)
    assert len(place.plan().configuration("2d").loss["weights"]) == place.dataset().outputs
