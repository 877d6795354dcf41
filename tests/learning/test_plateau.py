"""A learning rate that falls when validation no longer improves, and goes on falling after a stop."""

from __future__ import annotations

import json
import os
import signal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

import autoseg
from autoseg.learning import loop
from autoseg.learning.loop import Interrupted
from autoseg.learning.plateau import WatchingSchedule
from autoseg.learning.schedules import schedules
from autoseg.workspace.paths import Workspace, read_metrics


def build(**arguments):
    return schedules.build({"name": "plateau", **arguments})


def factors(schedule, scores):
    """The factor after each of validations at even distances."""
    found = []
    for number, score in enumerate(scores, start=1):
        schedule.watch(number / len(scores), score)
        found.append(schedule(number / len(scores)))
    return found


def test_only_this_schedule_watches():
    assert isinstance(build(), WatchingSchedule)
    assert not any(isinstance(schedules.build({"name": name}), WatchingSchedule) for name in ("cosine", "sgdr"))


def test_it_halves_where_nothing_improves():
    scores = [0.1, 0.3, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.7, 0.7]
    assert factors(build(patience=0.25), scores) == [1, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5]


def test_it_does_not_fall_below_its_end():
    assert factors(build(patience=0, final=0.2), [0.5] * 6) == [1, 0.5, 0.25, 0.2, 0.2, 0.2]


def test_a_gain_too_small_is_none():
    assert factors(build(patience=0, least_gain=0.05), [0.5, 0.54, 0.56])[1:] == [0.5, 0.5]


@given(st.lists(st.integers(0, 100), min_size=5, max_size=40), st.integers(0, 5))
def test_it_is_pytorchs(percent, patience):
    scores = [value / 100 for value in percent]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, "max", factor=0.5, patience=patience, threshold=1e-3, threshold_mode="abs", min_lr=1e-3, eps=0
    )
    theirs = []
    for score in scores:
        reference.step(score)
        theirs.append(optimizer.param_groups[0]["lr"])
    # Between two validations, so that no rounding decides.
    ours = build(patience=min(1.0, (patience + 0.5) / len(scores)), final=1e-3)
    assert factors(ours, scores) == pytest.approx(theirs)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30), st.integers(0, 30))
def test_it_goes_on_from_its_state(scores, stopped):
    first, second = build(), build()
    for number, score in enumerate(scores):
        if number == stopped:
            second.restore(json.loads(json.dumps(first.state())))
            first = second
        first.watch(number / len(scores), score)
    whole = build()
    for number, score in enumerate(scores):
        whole.watch(number / len(scores), score)
    assert first.state() == whole.state()


def test_a_stopped_training_goes_on_with_it_bit_for_bit(workspace, monkeypatch):
    """Validations before and after the stop decide together when the rate falls."""
    monkeypatch.setattr(loop, "SHORTEST_INTERVAL", 2)
    monkeypatch.setattr(loop, "VALIDATIONS", 6)
    place = Workspace(workspace)
    plan = json.loads(place.plan_file.read_text())
    # No gain is large enough: the rate falls at every other validation.
    schedule = {"name": "plateau", "patience": 0.2, "least_gain": 2.0}
    plan["configurations"]["2d"]["training"]["schedule"] = schedule
    place.plan_file.write_text(json.dumps(plan))
    folder = place.fold("2d", 0)

    def stop(report):
        if report.step == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    autoseg.train_fold(workspace, "2d", 0, iterations=12)
    whole, lines = load_file(folder.model), read_metrics(folder.metrics)
    with pytest.raises(Interrupted):
        autoseg.train_fold(workspace, "2d", 0, iterations=12, restart=True, listener=stop)
    state = json.loads(folder.resume_state.read_text())["schedules"]["network"]
    assert state["present"] == 0.5, "it has fallen before the stop"
    autoseg.train_fold(workspace, "2d", 0, iterations=12)
    again = load_file(folder.model)
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    rates = [line["learning_rate"] for line in read_metrics(folder.metrics)]
    assert rates == [line["learning_rate"] for line in lines] and min(rates) < 0.3 * max(rates)
