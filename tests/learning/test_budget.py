from __future__ import annotations

import json
import math
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import autoseg
from autoseg.inference import sliding_window
from autoseg.inference.sliding_window import TilingSettings, predict_probabilities
from autoseg.learning import budget, fold, loop, progress, rehearsal, training
from autoseg.learning.budget import SAFETY, SHORTEST_SHARE, TimeBudget
from autoseg.learning.learner import learning_step
from autoseg.learning.loop import SHORTEST_INTERVAL, shortest_interval
from autoseg.learning.plateau import Plateau
from autoseg.learning.progress import TrainingProgress
from autoseg.learning.rehearsal import Rehearsal
from autoseg.learning.validation.tiles import case_tiles, copies_of, tile_voxels
from autoseg.networks import networks
from autoseg.workspace.paths import Workspace

DEEPMEDIC = {"name": "deepmedic", "features": [3, 4], "hidden": [5], "factors": [1, 3]}
UNET = {"name": "unet", "features": [2, 4]}
HYPERDENSE = {"name": "hyperdense", "features": [2], "classifier": [3]}


def steps(root, **options):
    """Train fold 0 of the slices; return how many steps it took."""
    reports = []
    autoseg.train_fold(root, "2d", 0, listener=reports.append, **options)
    return reports[-1].step


def change_training(root, **changes):
    path = Workspace(root).plan_file
    plan = json.loads(path.read_text())
    plan["configurations"]["2d"]["training"] |= changes
    path.write_text(json.dumps(plan))


def test_steps_that_are_asked_for_come_before_time(workspace):
    assert steps(workspace, iterations=3, time_budget=3600.0) == 3


def test_the_plans_steps_come_before_its_time(workspace):
    change_training(workspace, iterations=4, time_budget=3600.0)
    assert steps(workspace) == 4


def test_time_that_is_asked_for_comes_before_the_plans_steps(workspace):
    change_training(workspace, iterations=1_000_000, time_budget=None)
    assert steps(workspace, time_budget=2.0) < 1_000_000


@pytest.mark.slow
def test_a_fold_takes_the_time_it_is_given(workspace):
    begun = time.monotonic()
    assert steps(workspace, time_budget=10.0) > 2
    # Wide limits: the machine may be busy with other things.
    assert 3.0 < time.monotonic() - begun < 40.0


def test_a_budget_too_short_for_anything_still_makes_a_model(workspace, caplog):
    with caplog.at_level("WARNING", "autoseg"):
        assert steps(workspace, time_budget=0.01) >= 1
    assert "does not fit into the time budget" in caplog.text
    assert Workspace(workspace).fold("2d", 0).model.exists()


@pytest.mark.parametrize("mirror", [(), (1,)])
@pytest.mark.parametrize("learned", [(3, 3), (3, 6, 3), (12, 12, 12)])
@pytest.mark.parametrize("spec", [DEEPMEDIC, UNET, HYPERDENSE])
def test_the_voxels_that_validation_predicts_are_counted(spec, learned, mirror):
    axes = len(learned)
    if spec is UNET:
        spec = UNET | {"kernels": [[3] * axes] * 2, "strides": [[1] * axes, [2] * axes]}
        learned = tuple(2 * n for n in learned)
    network = networks.build(spec, in_channels=1, outputs=2, dimension=axes).eval()
    patch = tuple(n + 2 * m for n, m in zip(learned, network.margin, strict=True))
    settings = TilingSettings(patch, 2, mirror_axes=mirror, margin=network.margin)
    # Of the largest patches one grows to hold the first image as a whole.
    images = [np.random.default_rng(0).normal(size=(1, 4, 20, n)).astype(np.float32) for n in (26, 50, 90)]
    seen = []
    network.register_forward_pre_hook(lambda _, inputs: seen.append(math.prod(inputs[0].shape)))
    for image in images:
        predict_probabilities([network], image, settings, torch.device("cpu"))
    cases = [SimpleNamespace(shape=image.shape[1:]) for image in images]
    voxels = sum(map(tile_voxels, case_tiles(cases, settings, network)))
    assert voxels * copies_of(settings, network) == sum(seen)


def time_predictions(monkeypatch):
    """Return the shapes whose prediction will be timed, which takes a second."""
    timed = []

    def seconds(learner, network, images, budget):
        timed.append(tuple(images.shape))
        return 1.0

    monkeypatch.setattr(rehearsal, "_prediction_seconds", seconds)
    return timed


def test_tiles_are_timed_as_many_at_once_as_they_are_predicted(workspace, monkeypatch):
    timed = time_predictions(monkeypatch)
    monkeypatch.setattr(sliding_window, "CPU_FORWARD_VOXELS", 10_000)
    steps(workspace, time_budget=0.01)
    together, _, *tile = timed[-1]
    assert together == 10_000 // math.prod(tile) > 1


def test_no_more_tiles_are_timed_at_once_than_a_case_has(workspace, monkeypatch):
    timed = time_predictions(monkeypatch)
    monkeypatch.setattr(budget, "case_tiles", lambda cases, settings, network: [(3, (16, 16))])
    monkeypatch.setattr(budget, "copies_of", lambda settings, network: 2)
    steps(workspace, time_budget=0.01)
    together, _, *tile = timed[-1]
    assert (together, tile) == (6, [16, 16])


def scheduled(schedule):
    """Stand for a learner whose only optimizer has this schedule."""
    return SimpleNamespace(method=None, optimizers={"network": SimpleNamespace(schedule=schedule)})


@pytest.mark.parametrize(("patches", "batch"), [(24, 2), (24, 1), (24, 3), (2, 2), (24, 24)])
def test_validations_on_patches_take_few_steps_worth_of_work(patches, batch):
    interval = shortest_interval(patches, batch, scheduled(lambda progress: 1.0))
    # Predicting takes a third of learning.
    assert patches / 3 / batch <= 0.04 * interval
    assert interval == SHORTEST_INTERVAL or patches / 3 / batch > 0.04 * (interval - 1)


def test_a_schedule_that_watches_validations_keeps_their_steps():
    assert shortest_interval(24, 1, scheduled(Plateau())) == SHORTEST_INTERVAL


@pytest.fixture
def clock(monkeypatch, passing_time):
    monkeypatch.setattr(progress, "time", passing_time)
    return passing_time


def train(clock, time, total, seconds_of_step):
    """Make steps as the loop does, each of which takes what ``seconds_of_step`` says of its number."""
    progress = TrainingProgress(total)
    progress.mark()
    factors = []
    while not progress.done:
        factors.append(progress.fraction)
        clock.now += seconds_of_step(progress.step)
        progress.advance()
        if not progress.done and time.is_due(progress):
            time.fit(progress, interval=1_000_000)
    return progress, factors


def time_budget(seconds, *, step=0.1, voxel=1e-6, voxels=1_000_000, copies=8):
    return TimeBudget(seconds, Rehearsal(step, 0.0, voxel), 0.0, voxels, copies, cases=0)


def test_on_an_even_machine_steps_end_where_validation_fits(clock):
    time = time_budget(100.0)
    progress, factors = train(clock, time, 901, lambda step: 0.1)
    assert progress.seconds == pytest.approx((100 - 8) * SAFETY, abs=0.2)
    assert time.mirror and factors[-1] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("slow_from", [0, 100, 500])
def test_on_a_machine_that_gets_slower_validation_keeps_its_time(clock, slow_from):
    time = time_budget(100.0)
    progress, factors = train(clock, time, 901, lambda step: 0.4 if step >= slow_from else 0.1)
    # Validation will be four times slower as well.
    assert time.slowdown == pytest.approx(4, rel=0.05)
    assert progress.seconds == pytest.approx((100 - 4 * 8) * SAFETY, abs=2)
    assert progress.step < 901 and factors[-1] > 0.95


def test_a_stall_in_the_middle_ends_training_in_time(clock, caplog):
    time = time_budget(100.0)
    with caplog.at_level("INFO", "autoseg.training"):
        progress, _ = train(clock, time, 901, lambda step: 60.0 if step == 500 else 0.1)
    assert progress.seconds == pytest.approx(110, abs=1) and progress.step == 501
    assert "training ends after step 501" in caplog.text


def test_a_machine_that_gets_faster_makes_more_steps(clock):
    progress, _ = train(clock, time_budget(100.0), 901, lambda step: 0.1 if step < 200 else 0.05)
    assert progress.step > 1500 and progress.seconds < 92


def test_validation_that_does_not_fit_is_planned_without_mirrored_copies_first(clock, caplog):
    time = time_budget(100.0, voxel=1e-5)
    with caplog.at_level("INFO", "autoseg.training"):
        time.plan_validation()
    assert not time.mirror and time.reserve == pytest.approx(10) and time.steps_end_at == pytest.approx(90 * SAFETY)
    assert "without mirrored copies: with them it takes about 80 s of 100 s" in caplog.text
    assert "does not fit" not in caplog.text


def test_slower_steps_lead_to_validation_without_mirrored_copies_too(clock):
    time = time_budget(100.0, voxel=1.75e-6)
    time.plan_validation()
    assert time.mirror
    train(clock, time, 901, lambda step: 0.4)
    assert not time.mirror and time.steps_end_at == pytest.approx((100 - 4 * 1.75) * SAFETY, abs=1)


def test_mirrored_copies_do_not_take_the_time_of_steps(clock):
    time = time_budget(100.0, voxel=2e-6)
    time.plan_validation()
    assert not time.mirror and time.reserve == pytest.approx(2)


def test_what_does_not_fit_without_copies_either_is_said_once_and_half_is_trained(clock, caplog):
    time = time_budget(100.0, voxel=1e-4)
    with caplog.at_level("INFO", "autoseg.training"):
        time.plan_validation()
        time.plan_validation()
    assert time.steps_end_at == 100 * SHORTEST_SHARE
    assert caplog.text.count("validation takes about 100 s, which does not fit into the time budget") == 1


def test_the_first_step_of_a_run_says_nothing_of_its_speed(workspace, monkeypatch, passing_time):
    """It waits for loader workers to start."""
    rates = []
    fit = TimeBudget.fit

    def noting(self, progress, interval):
        fit(self, progress, interval)
        rates.append(progress.rate())

    def slow_step(learner, batches, step):
        clock.now += 100.0 if not rates and clock.now < 100 else 1.0
        return learning_step(learner, batches, step)

    clock = passing_time
    for module in (progress, loop, fold, training):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(budget, "time", clock)
    monkeypatch.setattr(loop, "learning_step", slow_step)
    monkeypatch.setattr(budget, "rehearse", lambda *args, **options: Rehearsal(1.0, 0.1, 1e-6))
    monkeypatch.setattr(TimeBudget, "fit", noting)
    assert steps(workspace, time_budget=400.0) > 100
    assert rates and all(rate == pytest.approx(1.0) for rate in rates)
