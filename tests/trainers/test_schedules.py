from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autoseg.trainers.schedules import schedules

SPECS = [{"name": "polynomial"}, {"name": "cosine", "warmup": 0.05}, {"name": "constant"}]


@pytest.mark.parametrize("spec", SPECS)
@given(st.floats(0, 1))
def test_factors_stay_between_zero_and_one(spec, progress):
    assert 0 <= schedules.build(spec)(progress) <= 1


def test_polynomial_is_pytorchs():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    reference = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=50, power=0.9)
    ours = schedules.build({"name": "polynomial", "power": 0.9})
    for step in range(50):
        assert ours(step / 50) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
        optimizer.step()
        reference.step()


def test_cosine_rises_then_falls_to_its_end():
    factor = schedules.build({"name": "cosine", "warmup": 0.1, "final": 0.2})
    assert factor(0) == 0
    assert factor(0.1) == pytest.approx(1)
    assert factor(0.55) == pytest.approx(0.6)
    assert factor(1) == pytest.approx(0.2)
