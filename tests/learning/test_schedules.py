from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autoseg.errors import PlanError
from autoseg.learning.progress import TrainingProgress
from autoseg.learning.schedules import schedules

SPECS = [
    {"name": "polynomial"},
    {"name": "cosine", "warmup": 0.05},
    {"name": "constant"},
    {"name": "exponential", "final": 0.3},
    {"name": "staircase", "stairs": 7},
    {"name": "sgdr", "cycles": 4, "growth": 1.5, "final": 0.1},
    {"name": "one_cycle", "rise": 0.45, "first": 0.3},
    {"name": "plateau"},
]


def rates(make, steps):
    """The learning rates of a PyTorch scheduler."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize("spec", SPECS)
@given(st.floats(0, 1))
def test_factors_stay_between_zero_and_one(spec, progress):
    assert 0 <= schedules.build(spec)(progress) <= 1


def test_polynomial_is_pytorchs():
    theirs = rates(lambda o: torch.optim.lr_scheduler.PolynomialLR(o, total_iters=50, power=0.9), 50)
    ours = schedules.build({"name": "polynomial", "power": 0.9})
    assert [ours(step / 50) for step in range(50)] == pytest.approx(theirs, abs=1e-9)


def test_cosine_rises_then_falls_to_its_end():
    factor = schedules.build({"name": "cosine", "warmup": 0.1, "final": 0.2})
    assert factor(0) == 0
    assert factor(0.1) == pytest.approx(1)
    assert factor(0.55) == pytest.approx(0.6)
    assert factor(1) == pytest.approx(0.2)


def test_exponential_is_pytorchs():
    theirs = rates(lambda o: torch.optim.lr_scheduler.ExponentialLR(o, gamma=0.01 ** (1 / 40)), 40)
    ours = schedules.build({"name": "exponential", "final": 0.01})
    assert [ours(step / 40) for step in range(40)] == pytest.approx(theirs)
    assert ours(1) == pytest.approx(0.01)


def test_staircase_is_pytorchs():
    theirs = rates(lambda o: torch.optim.lr_scheduler.StepLR(o, step_size=6, gamma=0.3), 42)
    ours = schedules.build({"name": "staircase", "stairs": 7, "factor": 0.3})
    assert [ours(step / 42) for step in range(42)] == pytest.approx(theirs)
    assert ours(1) == pytest.approx(0.3**6)


def test_restarts_are_pytorchs():
    theirs = rates(
        lambda o: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=10, T_mult=2, eta_min=0.05), 70
    )
    ours = schedules.build({"name": "sgdr", "cycles": 3, "growth": 2, "final": 0.05})
    assert [ours(step / 70) for step in range(70)] == pytest.approx(theirs)
    assert ours(1) == pytest.approx(0.05)


def test_restarts_of_the_published_schedule():
    # SGDR from 0.05 to 0 over 650 iterations, then 1300, then 2600.
    ours = schedules.build({"name": "sgdr", "cycles": 3, "growth": 2})
    found = [0.05 * ours(iteration / (7 * 650)) for iteration in (0, 325, 650, 1300, 1950)]
    assert found == pytest.approx([0.05, 0.025, 0.05, 0.025, 0.05])


def test_one_cycle_is_pytorchs_but_for_the_step_that_it_ends_early():
    steps = 20_000
    theirs = rates(lambda o: torch.optim.lr_scheduler.OneCycleLR(o, max_lr=1.0, total_steps=steps + 1), steps)
    ours = schedules.build({"name": "one_cycle"})
    assert [ours(step / steps) for step in range(steps)] == pytest.approx(theirs, abs=3e-4)
    assert (ours(0), ours(0.3), ours(1)) == pytest.approx((0.04, 1, 4e-6))


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec["name"] not in ("staircase", "plateau", "constant")])
def test_every_schedule_ends_at_its_end_whatever_the_length(spec):
    ours = schedules.build(spec)
    end = ours(1.0)
    for total in (1, 7, 10_000):
        progress = TrainingProgress(total)
        for _ in range(total):
            progress.advance()
        assert ours(progress.fraction) == pytest.approx(end, abs=1e-6)
    assert all(ours(progress / 1000) >= min(end, ours(0)) - 1e-12 for progress in range(1001))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "exponential", "final": 0}, "argument 'final': found 0: input should be greater than 0"),
        ({"name": "staircase", "stairs": 2.5}, "argument 'stairs': found 2.5: input should be a valid integer"),
        ({"name": "sgdr", "growth": 0.5}, "argument 'growth': found 0.5: input should be greater than or equal to 1"),
        ({"name": "one_cycle", "rise": 1}, "argument 'rise': found 1: input should be less than 1"),
        ({"name": "plateau", "factor": 1}, "argument 'factor': found 1: input should be less than 1"),
    ],
)
def test_arguments_that_cannot_be_are_told(spec, message):
    with pytest.raises(PlanError, match=message):
        schedules.build(spec)
