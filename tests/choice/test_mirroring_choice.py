from __future__ import annotations

import json

import pytest

from autoseg.choice import choose, mirroring
from autoseg.inference.ensemble import read_ensemble


@pytest.fixture(autouse=True)
def no_clock(monkeypatch):
    """The weights are made up, so that nothing can be timed."""
    monkeypatch.setattr(mirroring, "_seconds", lambda held_out, name, device: (8.0, 1.0))


def worse(labels):
    spoilt = labels.copy()
    spoilt[2:3] = 0
    return spoilt


def test_mirroring_that_gains_nothing_is_left_out(made):
    made.predict_all(lambda labels: labels)
    made.predict_all(lambda labels: labels, mirror=False)
    found = choose(made, tta=True, predict=False, workers=0)
    assert not found.mirroring.kept and found.mirroring.gain.mean == 0
    assert (found.mirroring.seconds, found.mirroring.seconds_without) == (8, 1)
    assert read_ensemble(made, made.plan()).mirror is False


def test_mirroring_that_gains_enough_is_kept(made):
    made.predict_all(lambda labels: labels)
    made.predict_all(worse, mirror=False)
    found = choose(made, tta=True, predict=False, workers=0)
    assert found.mirroring.kept and found.mirroring.gain.shown and found.dice == 1
    assert read_ensemble(made, made.plan()).mirror is True


def test_what_follows_is_tried_without_mirroring_where_it_is_left_out(made):
    def speckled(labels):
        spoilt = labels.copy()
        spoilt[0, 0, 0] = 1
        return spoilt

    made.predict_all(lambda labels: labels)
    made.predict_all(speckled, mirror=False)
    made.predict_all(worse)
    found = choose(made, tta=True, predict=False, workers=0)
    assert not found.mirroring.kept and found.dice == 1
    assert found.postprocessing.steps == ({"name": "largest_component"},)


def test_not_asked_for_it_is_not_measured_but_not_forgotten_either(made):
    made.predict_all(lambda labels: labels)
    assert choose(made, predict=False, workers=0).mirroring is None
    assert read_ensemble(made, made.plan()).mirror is None
    made.predict_all(lambda labels: labels, mirror=False)
    assert choose(made, predict=False, workers=0).mirroring is not None


def test_without_an_axis_to_mirror_there_is_nothing_to_measure(made):
    plan = json.loads(made.plan_file.read_text())
    made.plan_file.write_text(json.dumps(plan | {"mirror_axes": []}))
    made.predict_all(lambda labels: labels)
    assert choose(made, tta=True, predict=False, workers=0).mirroring is None
