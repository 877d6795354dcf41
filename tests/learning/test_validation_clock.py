"""Validation of whole cases that keeps to the time of its fold, and what becomes of the cases that are left out."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

import autoseg
from autoseg.choice import choose
from autoseg.cli.run import _is_done, train_all
from autoseg.data.splits import kfold, write_splits
from autoseg.evaluation.summary import read_summary
from autoseg.learning.validation import cases as validation
from autoseg.learning.validation import clock as validation_clock
from autoseg.learning.validation.clock import ValidationClock
from autoseg.report.page import write_report
from autoseg.workspace.paths import Workspace

COPIES = 8


@pytest.fixture
def clock(monkeypatch, passing_time):
    monkeypatch.setattr(validation_clock, "time", passing_time)
    return passing_time


def run(clock, own, cases, *, seconds_per_voxel, beside=0.0):
    """Validate cases of some voxels; return for each whether it was predicted, and whether with mirrored copies."""
    found = []
    for index, voxels in enumerate(cases):
        if not own.allows(cases[index:], COPIES):
            break
        predicting = seconds_per_voxel * voxels * (COPIES if own.mirror else 1)
        clock.now += predicting + beside * voxels
        own.add(voxels, COPIES, predicting=predicting, beside=beside * voxels)
        found.append(own.mirror)
    return found


def test_without_a_budget_nothing_is_left_out(clock):
    assert run(clock, ValidationClock(), [10] * 5, seconds_per_voxel=1e6) == [True] * 5


def test_what_fits_is_mirrored(clock):
    assert run(clock, ValidationClock(100.0, 100.0), [10] * 5, seconds_per_voxel=0.2) == [True] * 5


def test_mirrored_copies_are_left_out_first(clock):
    # A case takes 40 s with copies and 5 s without.
    assert run(clock, ValidationClock(100.0, 100.0), [10] * 5, seconds_per_voxel=0.5) == [True, *[False] * 4]
    assert clock.now == 60


def test_then_cases_are(clock):
    # A case takes 160 s with copies and 20 s without, and more beside that.
    found = run(clock, ValidationClock(300.0, 300.0), [10] * 20, seconds_per_voxel=2.0, beside=0.5)
    assert found[:2] == [True, False] and len(found) == 7
    assert clock.now <= 330


def test_what_is_expected_counts_before_a_case_is_done(clock):
    own = ValidationClock(100.0, 100.0, predicting=1.0)
    assert run(clock, own, [10] * 5, seconds_per_voxel=1.0) == [False] * 5


def test_one_case_is_validated_in_any_case(clock):
    clock.now = 500.0
    assert run(clock, ValidationClock(100.0, 100.0, predicting=1.0), [10] * 5, seconds_per_voxel=1.0) == [False]


def test_slower_ones_are_seen_after_each_case(clock):
    own = ValidationClock(100.0, 100.0, predicting=0.1)
    assert run(clock, own, [10, 10, 10], seconds_per_voxel=0.3) == [True] * 3
    clock.now = 0.0
    own = ValidationClock(100.0, 100.0, predicting=0.1)
    assert run(clock, own, [10, 10, 10, 10, 50], seconds_per_voxel=0.3) == [True, False, False, False, False]


@pytest.fixture
def slow_cases(monkeypatch, passing_time):
    """Let predicting a voxel take a second of a clock of its own, and return the clock."""
    clock = passing_time
    for module in (validation, validation_clock):
        monkeypatch.setattr(module, "time", clock)
    predict = validation.score_stored_case

    def slow(network, case, window, device):
        clock.now += 1000.0 if window.mirror_axes else 100.0
        return predict(network, case, window, device)

    monkeypatch.setattr(validation, "score_stored_case", slow)
    return clock


@pytest.fixture
def place(workspace):
    """Six cases in two folds."""
    found = Workspace(workspace)
    write_splits(found.splits_file, kfold([case.name for case in found.dataset().cases], 2))
    return found


def end_after(monkeypatch, seconds):
    """Let the time of each fold be over so many seconds after its validation has begun."""
    monkeypatch.setattr(
        "autoseg.learning.fold._validation_clock", lambda setting, started: ValidationClock(seconds, seconds)
    )


def test_cases_that_do_not_fit_are_named_and_validated_later(place, slow_cases, monkeypatch, caplog):
    end_after(monkeypatch, 1150.0)
    with caplog.at_level("INFO", "autoseg"):
        summary = autoseg.train_fold(place.root, "2d", 0, iterations=1)
    first, second, third = place.splits()[0].val
    folder = place.fold("2d", 0)
    assert list(summary.cases) == [first, second] and summary.not_validated == (third,)
    assert summary.not_mirrored == (second,)
    command = f"autoseg train-fold {place.root} 2d 0"
    assert (
        f"validated 2 of 3 cases, because the time budget is over; to validate the rest, run: {command}" in caplog.text
    )
    found = read_summary(folder.summary)
    assert (found.not_validated, found.not_mirrored) == ((third,), (second,))
    assert not folder.validation.joinpath(f"{third}.nii.gz").exists()
    assert [path.stem for path in sorted(folder.validation.glob("probabilities/*.b2nd"))] == [first]
    assert [path.stem for path in folder.validation.glob("probabilities-unmirrored/*.b2nd")] == [second]
    assert _is_done(folder, whole=False) and not _is_done(folder, whole=True)
    write_report(place.root)
    page = place.report_file.read_text()
    assert "Not validated" in page and "Validated without mirroring" in page

    before = folder.model.stat().st_mtime_ns
    summary = autoseg.train_fold(place.root, "2d", 0, time_budget=1.0)
    assert sorted(summary.cases) == sorted([first, second, third]) and folder.model.stat().st_mtime_ns == before
    assert not summary.not_validated and summary.not_mirrored == (second,)
    assert "not_validated" not in json.loads(folder.summary.read_text())


def test_what_was_not_mirrored_is_predicted_again_by_choose(place, slow_cases, monkeypatch):
    end_after(monkeypatch, 1150.0)
    for fold in (0, 1):
        autoseg.train_fold(place.root, "2d", fold, iterations=1)
    seen = []
    predict = autoseg.choice.held_out.FoldNetwork.predict

    def noting(self, case, *, mirror):
        seen.append((case, mirror))
        return predict(self, case, mirror=mirror)

    monkeypatch.setattr(autoseg.choice.held_out.FoldNetwork, "predict", noting)
    found = choose(place, workers=0)
    assert sorted(seen) == sorted((case, True) for split in place.splits() for case in split.val[1:])
    assert found.cases == 6 and found.mirroring is None


def test_run_goes_on_with_the_next_fold(place, slow_cases, monkeypatch, capsys):
    end_after(monkeypatch, 1150.0)
    assert train_all(place.root, iterations=1) == 0
    for name in ("2d", "3d_fullres"):
        for fold in (0, 1):
            assert len(read_summary(place.fold(name, fold).summary).cases) >= 1
    assert "cases not validated" in capsys.readouterr().out
    assert place.ensemble_file.exists()


def test_networks_that_are_not_mirrored_need_no_note(place, slow_cases, monkeypatch):
    plan = json.loads(place.plan_file.read_text())
    place.plan_file.write_text(json.dumps(plan | {"mirror_axes": []}))
    end_after(monkeypatch, 250.0)
    summary = autoseg.train_fold(place.root, "2d", 0, iterations=1)
    folder = place.fold("2d", 0)
    assert len(summary.cases) == 2 and summary.not_mirrored == ()
    assert len(list(folder.validation.glob("probabilities/*.b2nd"))) == 2


def test_the_time_of_earlier_runs_counts(place, monkeypatch):
    from autoseg.learning import fold

    monkeypatch.setattr(fold, "load_state", lambda path: ({}, {"progress": {"seconds": 70.0}}))
    setting = SimpleNamespace(time_limit=100.0, folder=SimpleNamespace(resume_state=None))
    assert fold._validation_clock(setting, started=1000.0).over_at == 1030
    setting = SimpleNamespace(time_limit=None)
    assert fold._validation_clock(setting, started=1000.0) is None
