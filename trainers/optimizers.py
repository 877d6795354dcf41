"""Optimizers by name, as a plan lists them."""

from __future__ import annotations

import torch
from torch import nn

from autoseg.errors import PlanError
from autoseg.quantities import Decay, NonNegative, Positive
from autoseg.registry import Registry
from autoseg.trainers.angular_grad import AngularGrad
from autoseg.trainers.muon import Muon
from autoseg.trainers.parameter_groups import Parameters, decayed_groups
from autoseg.trainers.rmsprop import RMSProp

optimizers: Registry = Registry("optimizers")

optimizers.register("muon")(Muon)
optimizers.register("rmsprop")(RMSProp)
optimizers.register("angular_grad")(AngularGrad)


@optimizers.register("sgd")
def sgd(
    parameters: Parameters,
    *,
    learning_rate: Positive,
    momentum: Decay = 0.0,
    nesterov: bool = False,
    weight_decay: NonNegative = 0.0,
) -> torch.optim.Optimizer:
    """Stochastic gradient descent; biases and normalization are decayed as well, as in nnU-Net."""
    if nesterov and not momentum:
        raise PlanError("optimizers 'sgd', argument 'momentum': found 0, expected more where 'nesterov' is true")
    groups = decayed_groups(parameters, weight_decay)
    return torch.optim.SGD(groups, lr=learning_rate, momentum=momentum, nesterov=nesterov)


@optimizers.register("adam")
def adam(
    parameters: Parameters,
    *,
    learning_rate: Positive,
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    epsilon: Positive = 1e-8,
    weight_decay: NonNegative = 0.0,
) -> torch.optim.Optimizer:
    """Adam (Kingma and Ba 2015); ``weight_decay`` is part of the gradient, as in the paper's day."""
    groups = decayed_groups(parameters, weight_decay)
    return torch.optim.Adam(groups, lr=learning_rate, betas=(beta1, beta2), eps=epsilon, fused=True)


@optimizers.register("adadelta")
def adadelta(
    parameters: Parameters,
    *,
    learning_rate: Positive = 1.0,
    decay: Decay = 0.9,
    epsilon: Positive = 1e-6,
    weight_decay: NonNegative = 0.0,
) -> torch.optim.Optimizer:
    """AdaDelta (Zeiler 2012), which finds the size of its steps: the paper's learning rate is 1."""
    return torch.optim.Adadelta(decayed_groups(parameters, weight_decay), lr=learning_rate, rho=decay, eps=epsilon)


@optimizers.register("adamw")
def adamw(
    parameters: Parameters,
    *,
    learning_rate: Positive,
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    epsilon: Positive = 1e-8,
    weight_decay: NonNegative = 0.01,
) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019); biases and normalization are not decayed."""
    matrices: list[nn.Parameter] = []
    vectors: list[nn.Parameter] = []
    for parameter in parameters:
        (matrices if parameter.ndim > 1 else vectors).append(parameter)
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(beta1, beta2), eps=epsilon, fused=True)
