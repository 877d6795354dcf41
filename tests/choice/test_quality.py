"""Whether the Dice that is expected of cases is the one that held-out cases reach."""

from __future__ import annotations

import numpy as np
import pytest

from autoseg.choice import choose
from autoseg.choice.calibration import measure_calibration
from autoseg.choice.quality import CaseQuality, Quality
from autoseg.choice.trial import Recipe
from autoseg.inference.ensemble import read_ensemble
from autoseg.system.execution import local_executor

BOTH = ("2d", "3d_fullres")


def shifted(made, case, voxels):
    return np.roll(made.reference(case), voxels, axis=2)


def test_cases_that_are_worse_are_expected_to_be_worse_where_networks_disagree(made):
    for shift, case in enumerate(made.names):
        made.predict("2d", case, shifted(made, case, shift))
        made.predict("3d_fullres", case, shifted(made, case, -shift))
    _, quality = measure_calibration(made.held_out(), Recipe(BOTH), executor=local_executor(0))
    assert list(quality.cases) == list(made.held_out().cases)
    first = quality.cases[made.names[0]]
    assert first.dice == 1 and first.agreement == 1
    assert quality.agreement_correlation > 0.8 and quality.expected_correlation > 0.8


def test_a_single_configuration_agrees_with_nobody_and_overconfidence_is_kept_for_prediction(made):
    made.predict_all(lambda labels: np.roll(labels, 1, axis=2), configurations=BOTH)
    found = choose(made, predict=False, workers=0).quality
    assert all(case.agreement is None for case in found.cases.values()) and found.agreement_correlation is None
    gaps = [case.expected - case.dice for case in found.cases.values()]
    assert found.overconfidence == pytest.approx(np.mean(gaps), abs=1e-3)
    assert read_ensemble(made, made.plan()).overconfidence == found.overconfidence


def test_what_is_not_found_is_expected_as_little_as_it_is_reached(made):
    case = made.names[0]
    without = np.where(made.reference(case) == 2, 1, made.reference(case))
    made.set_reference(case, without)
    made.predict_all(lambda labels: labels, configurations=BOTH)
    # Each voxel may be the core with 0.05, but no voxel is said to be.
    _, quality = measure_calibration(made.held_out(), Recipe(("2d",)), executor=local_executor(0))
    found = quality.cases[case]
    body = float((without == 1).sum())
    assert found.dice == 1 and found.expected == pytest.approx(
        2 * 0.9 * body / (body + 0.9 * body + 0.05 * (without.size - body)), abs=0.01
    )


def test_cases_without_any_class_tell_nothing():
    nothing = CaseQuality(None, None, None)
    assert Quality.of({"a": nothing, "b": nothing}) == Quality({"a": nothing, "b": nothing}, None, None, None, None)
    known = Quality.of({"a": nothing, "b": CaseQuality(0.9, None, 0.8), "c": CaseQuality(0.8, None, 0.5)})
    assert known.overconfidence == pytest.approx(0.2) and known.error == pytest.approx(0.1)
    assert known.expected_correlation is None, "two cases are too few"
