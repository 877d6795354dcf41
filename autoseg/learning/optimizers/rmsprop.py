"""RMSProp with Nesterov momentum; PyTorch's RMSprop does not offer it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from autoseg.learning.optimizers.decay import Parameters, decayed_groups
from autoseg.registry import Decay, NonNegative, Positive


class RMSProp(torch.optim.Optimizer):
    """RMSProp (Tieleman and Hinton 2012) with momentum over the scaled gradients.

    v ← ρ v + (1 − ρ) g², s = g / √(v + ε), b ← m b + s. The step is the learning rate times b, or times s + m b with
    Nesterov momentum (Sutskever et al. 2013). This is DeepMedic's optimizer (Kamnitsas et al. 2017): the momentum of
    0.6 is published, ρ and ε come from its public configurations. Their ε is inside the root, as here; PyTorch's
    RMSprop adds it outside.
    """

    def __init__(
        self,
        parameters: Parameters,
        *,
        learning_rate: Positive,
        momentum: Decay = 0.6,
        nesterov: bool = True,
        decay: Decay = 0.9,
        epsilon: Positive = 1e-4,
        weight_decay: NonNegative = 0.0,
    ) -> None:
        defaults = {"lr": learning_rate, "momentum": momentum, "nesterov": nesterov, "decay": decay, "eps": epsilon}
        super().__init__(decayed_groups(parameters, weight_decay), defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Make one step with the current gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(self, parameter: nn.Parameter, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["second"] = torch.zeros_like(parameter)
            if group["momentum"]:
                state["momentum"] = torch.zeros_like(parameter)
        if group["weight_decay"]:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
        state["second"].mul_(group["decay"]).addcmul_(gradient, gradient, value=1 - group["decay"])
        scaled = gradient / (state["second"] + group["eps"]).sqrt_()
        if group["momentum"]:
            gathered = state["momentum"].mul_(group["momentum"]).add_(scaled)
            scaled = scaled.add_(gathered, alpha=group["momentum"]) if group["nesterov"] else gathered
        parameter.add_(scaled, alpha=-group["lr"])
