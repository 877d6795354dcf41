"""Registry of optimizers, by their names in a plan."""

from __future__ import annotations

import torch
from torch import nn

from autoseg.errors import PlanError
from autoseg.learning.optimizers.angular_grad import AngularGrad
from autoseg.learning.optimizers.decay import Parameters, decayed_groups
from autoseg.learning.optimizers.muon import Muon
from autoseg.learning.optimizers.rmsprop import RMSProp
from autoseg.registry import Decay, NonNegative, Positive, Registry

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
    """Stochastic gradient descent; weight decay includes biases and normalization, as in nnU-Net."""
    if nesterov and not momentum:
        raise PlanError("optimizers 'sgd', argument 'momentum': found 0, expected more than 0 if 'nesterov' is true")
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
    """Adam (Kingma and Ba 2015); ``weight_decay`` is an L2 penalty: it is added to the gradient."""
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
    """AdaDelta (Zeiler 2012), which adapts its step size; the paper has no learning rate, which corresponds to 1."""
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
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), without decay of biases and normalization."""
    matrices: list[nn.Parameter] = []
    vectors: list[nn.Parameter] = []
    for parameter in parameters:
        (matrices if parameter.ndim > 1 else vectors).append(parameter)
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(beta1, beta2), eps=epsilon, fused=True)
