"""Optimizers by name, as a plan lists them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from autoseg.networks.input_layers import Undecayed
from autoseg.quantities import Decay, NonNegative, Positive
from autoseg.registry import Registry
from autoseg.trainers.muon import Muon

optimizers: Registry = Registry("optimizers")

optimizers.register("muon")(Muon)

Parameters = Iterable[nn.Parameter]


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
    decayed: list[nn.Parameter] = []
    undecayed: list[nn.Parameter] = []
    for parameter in parameters:
        (undecayed if isinstance(parameter, Undecayed) else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": undecayed, "weight_decay": 0.0}]
    return torch.optim.SGD(
        [group for group in groups if group["params"]], lr=learning_rate, momentum=momentum, nesterov=nesterov
    )


@optimizers.register("adamw")
def adamw(
    parameters: Parameters,
    *,
    learning_rate: Positive,
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    weight_decay: NonNegative = 0.01,
) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019); biases and normalization are not decayed."""
    matrices: list[nn.Parameter] = []
    vectors: list[nn.Parameter] = []
    for parameter in parameters:
        (matrices if parameter.ndim > 1 else vectors).append(parameter)
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(beta1, beta2), fused=True)
