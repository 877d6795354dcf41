"""Optimizers by name against PyTorch's and against plain formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from autoseg.errors import PlanError
from autoseg.learning.optimizers import optimizers
from autoseg.networks.input_layers import Undecayed

GRADIENTS = torch.randn(20, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
START = torch.linspace(-1, 1, 5, dtype=torch.float64)


def moved(make):
    """Where weights are after a step for each gradient."""
    weights = nn.Parameter(START.clone())
    optimizer = make([weights])
    for gradient in GRADIENTS:
        weights.grad = gradient.clone()
        optimizer.step()
    return weights.detach()


def by_name(name, **arguments):
    return moved(lambda parameters: optimizers.build({"name": name, **arguments}, parameters=parameters))


SAME = {
    "sgd": (
        {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    ),
    "adam": ({"learning_rate": 0.01, "weight_decay": 0.1}, lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1)),
    "adadelta": ({"weight_decay": 0.1}, lambda p: torch.optim.Adadelta(p, weight_decay=0.1)),
    "rmsprop": (
        {"learning_rate": 0.01, "momentum": 0.6, "nesterov": False, "epsilon": 1e-14, "weight_decay": 0.1},
        lambda p: torch.optim.RMSprop(p, lr=0.01, alpha=0.9, momentum=0.6, eps=1e-14, weight_decay=0.1),
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_they_are_pytorchs(name):
    arguments, theirs = SAME[name]
    torch.testing.assert_close(by_name(name, **arguments), moved(theirs))


def test_rmsprop_looks_ahead_by_one_step_of_its_momentum():
    second, gathered, weights = torch.zeros(5), torch.zeros(5), START.clone()
    for gradient in GRADIENTS:
        second = 0.9 * second + 0.1 * gradient**2
        scaled = gradient / (second + 1e-4).sqrt()
        gathered = 0.6 * gathered + scaled
        weights = weights - 0.01 * (scaled + 0.6 * gathered)
    torch.testing.assert_close(by_name("rmsprop", learning_rate=0.01), weights)


def test_rmsprop_with_nesterov_is_sgds_on_scaled_gradients():
    # Where gradients are all alike from the first on, without memory of their size, each scaled one is ±1.
    weights, other = nn.Parameter(START.clone()), nn.Parameter(START.clone())
    ours = optimizers.build(
        {"name": "rmsprop", "learning_rate": 0.1, "decay": 0.0, "epsilon": 1e-14}, parameters=[weights]
    )
    theirs = torch.optim.SGD([other], lr=0.1, momentum=0.6, nesterov=True)
    for gradient in GRADIENTS:
        weights.grad, other.grad = gradient, gradient.sign()
        ours.step()
        theirs.step()
    torch.testing.assert_close(weights, other)


@pytest.mark.parametrize("angle", ["cos", "tan"])
def test_angular_grad_is_the_papers_formula(angle):
    first = second = before = torch.zeros(5, dtype=torch.float64)
    weights, last = START.clone(), None
    for step, gradient in enumerate(GRADIENTS, start=1):
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        turned = torch.atan(((gradient - before) / (1 + gradient * before)).abs())
        least = turned if last is None else torch.minimum(turned, last)
        phi = 0.5 * torch.tanh(getattr(torch, angle)(least).abs()) + 0.5
        weights = weights - 0.01 * phi * (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
        before, last = gradient, turned
    torch.testing.assert_close(by_name("angular_grad", learning_rate=0.01, angle=angle), weights)


def test_angular_grad_is_a_part_of_adams_step():
    # A gradient that stays as it is has an angle of 0 to the one before.
    weights, other = (nn.Parameter(START.clone()) for _ in range(2))
    adam = torch.optim.Adam([other], lr=0.01)
    cosine = optimizers.build({"name": "angular_grad", "learning_rate": 0.01}, parameters=[weights])
    for _ in range(2):
        weights.grad = other.grad = GRADIENTS[0]
        before = weights.detach().clone(), other.detach().clone()
        cosine.step()
        adam.step()
    steps = (weights.detach() - before[0]) / (other.detach() - before[1])
    torch.testing.assert_close(steps, torch.full_like(steps, 0.5 + 0.5 * math.tanh(1)))


def test_a_right_angle_is_no_division_by_zero():
    weights = nn.Parameter(torch.zeros(1))
    for angle in ("cos", "tan"):
        optimizer = optimizers.build(
            {"name": "angular_grad", "learning_rate": 0.1, "angle": angle}, parameters=[weights]
        )
        for gradient in (1.0, -1.0, 1.0):
            weights.grad = torch.tensor([gradient])
            optimizer.step()
        assert torch.isfinite(weights).all()


@pytest.mark.parametrize("name", ["sgd", "adam", "rmsprop", "adadelta", "angular_grad"])
def test_what_is_never_decayed_is_not(name):
    plain, never = nn.Parameter(torch.ones(3)), Undecayed(torch.ones(3))
    spec = {"name": name, "learning_rate": 0.1, "weight_decay": 0.5}
    optimizer = optimizers.build(spec, parameters=[plain, never])
    plain.grad, never.grad = torch.zeros(3), torch.zeros(3)
    optimizer.step()
    assert (plain < 1).all() and (never == 1).all()


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "muon", "rmsprop", "adadelta", "angular_grad"])
def test_they_descend(name):
    weights = nn.Parameter(torch.full((4, 3), 2.0))
    rates = {"learning_rate": 10.0} if name == "adadelta" else {"learning_rate": 0.05}
    rates |= {"vector_learning_rate": 0.05} if name == "muon" else {}
    optimizer = optimizers.build({"name": name, **rates}, parameters=[weights])
    for _ in range(60):
        optimizer.zero_grad()
        weights.square().sum().backward()
        optimizer.step()
    assert weights.square().mean() < 2


def test_arguments_that_cannot_be_are_told():
    for spec, message in (
        ({"name": "angular_grad", "learning_rate": 0.1, "angle": "sin"}, "argument 'angle': found 'sin'"),
        (
            {"name": "rmsprop", "learning_rate": 0.1, "momentum": 1},
            "argument 'momentum': found 1: input should be less",
        ),
        ({"name": "adam"}, "missing a required argument: 'learning_rate'"),
    ):
        with pytest.raises(PlanError, match=message):
            optimizers.build(spec, parameters=[nn.Parameter(torch.zeros(1))])
