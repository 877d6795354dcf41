"""How the planner fits each channel's normalization, and the figures that it gives."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autoseg.data.dataset import Dataset
from autoseg.data.declarations import read_normalization
from autoseg.errors import DatasetError, PlanError
from autoseg.fingerprint.record import CaseMeasure, Fingerprint, Intensities
from autoseg.networks.build import build_network
from autoseg.planners.base import PlanRequest, make_plan
from autoseg.planners.normalization import normalization
from autoseg.planners.resources import GIGABYTE, Resources
from autoseg.preprocessing.declared import check_declared

SHAPE = (24, 24, 24)
SEEN = Intensities(
    mean=50.0, std=20.0, median=48.0, minimum=-90.0, maximum=300.0, percentile_00_5=-60.0, percentile_99_5=250.0
)
LEARNED = {"name": "window", "windows": [[40, 400], [300, 1500]], "learnable": True}


def dataset(*channels, **declared):
    return Dataset("made", channels, {"background": 0, "node": 1}, ".nii.gz", (), normalization=declared)


def fingerprint(channels=1, cropped=SHAPE):
    cases = tuple(CaseMeasure(f"case_{i}", "", SHAPE, cropped, (1.0, 1.0, 1.0), {"node": 9}) for i in range(12))
    return Fingerprint(cases, (SEEN,) * channels)


def decided(found):
    return {decision.decision: " | ".join(decision.reasons) for decision in found.decisions}


def test_ct_is_clipped_where_the_foreground_ends():
    found = normalization(dataset("CT"), fingerprint())
    assert found.specs == ({"name": "ct", "lower": -60.0, "upper": 250.0, "mean": 50.0, "std": 20.0},)
    reasons = decided(found)["channel 'CT': normalization ct"]
    assert "chosen by the channel's name" in reasons
    assert "12 cases: 0.5th percentile -60, 99.5th 250, mean 50, std 20" in reasons


def test_what_is_declared_comes_before_what_is_fitted():
    found = normalization(dataset("CT", CT={"name": "ct", "lower": -200.0}), fingerprint())
    assert found.specs[0]["lower"] == -200.0 and found.specs[0]["upper"] == 250.0
    assert "declared in dataset.json" in decided(found)["channel 'CT': normalization ct"]


@pytest.mark.parametrize(("cropped", "masked", "words"), [(SHAPE, False, "100.0%"), ((12, 24, 24), True, "50.0%")])
def test_intensities_are_normalized_inside_the_mask_where_much_is_cropped(cropped, masked, words):
    found = normalization(dataset("T1"), fingerprint(cropped=cropped))
    assert found.specs == ({"name": "z_score", "masked": masked},)
    assert words in decided(found)["channel 'T1': normalization z_score"]
    told = normalization(dataset("T1", T1={"name": "z_score", "masked": not masked}), fingerprint(cropped=cropped))
    assert told.specs[0]["masked"] is not masked
    assert "as declared" in decided(told)["channel 'T1': normalization z_score"]


def test_uptake_begins_at_zero_and_is_scaled_by_the_foreground():
    found = normalization(dataset("SUV"), fingerprint())
    assert found.specs == ({"name": "suv", "lower": 0.0, "upper": 250.0, "scale": 20.0},)


def test_windows_that_are_learned_become_the_first_layer():
    data = dataset("CT", "PET", CT={"name": "window", "windows": [[40, 400], [70, 200]]}, PET=LEARNED)
    found = normalization(data, fingerprint(2))
    assert found.input_layer == {
        "name": "learnable_window",
        "windows": [[40, 400], [300, 1500]],
        "channel": 2,
    }, "the fixed windows before it are two channels"
    assert [spec["name"] for spec in found.specs] == ["window", "ct"]
    # The wide window ends at 1050 and may move by its width of 1500; the narrow one begins at −160.
    assert (found.specs[1]["lower"], found.specs[1]["upper"]) == (-1950.0, 2550.0)
    assert "channel 'PET': normalization ct, then learnable windows" in decided(found)


@pytest.mark.parametrize("offset", [0.0, 1024.0])
def test_a_planned_network_begins_with_windows_as_they_were_declared(offset):
    data = dataset("CT", CT={**LEARNED, "hu_offset": offset})
    seen = replace(fingerprint(), intensities=(replace(SEEN, minimum=-90 + offset, maximum=300 + offset),))
    request = PlanRequest(data, seen, Resources("cpu", GIGABYTE, bfloat16=False, is_here=False), ("3d_fullres",))
    configuration = make_plan(request, "unet").configuration("3d_fullres")
    layer = build_network(configuration, data).layer
    stored = configuration.normalization[0]
    hounsfield = torch.tensor([-160.0, 40.0, 240.0, 5000.0])
    x = ((hounsfield + offset).clamp(stored["lower"], stored["upper"]) - stored["mean"]) / stored["std"]
    narrow, wide = layer(x.view(1, 1, 2, 2, 1))[0].flatten(1)
    assert torch.allclose(narrow, torch.tensor([-1.0, 0.0, 1.0, 1.0]), atol=1e-5)
    assert torch.allclose(wide[:3], (hounsfield[:3] - 300) / 750, atol=1e-5)


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"CT": LEARNED, "PET": LEARNED}, "found learnable windows for CT, PET, expected at most one channel"),
        ({"CT": {**LEARNED, "learnable": "yes"}}, "learnable"),
        ({"CT": {"name": "ct", "learnable": True}}, "learnable"),
        ({"CT": {**LEARNED, "windows": [[40, 0]]}}, "windows"),
    ],
)
def test_declarations_that_cannot_be(declared, words):
    with pytest.raises(DatasetError, match=words) as caught:
        found = read_normalization(json.loads(json.dumps(declared)), ("CT", "PET"), Path("dataset.json"))
        check_declared(dataset("CT", "PET", **found), Path("dataset.json"))
    assert str(caught.value).startswith("dataset.json: field 'normalization'")


def test_what_is_declared_and_fitted_must_go_together():
    with pytest.raises(PlanError, match=r"channel 'CT'.*declare other arguments in dataset\.json"):
        normalization(dataset("CT", CT={"name": "ct", "lower": 900.0}), fingerprint())
