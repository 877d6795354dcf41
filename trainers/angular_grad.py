"""AngularGrad: Adam whose steps depend on the angle between one gradient and the next."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn

from autoseg.quantities import Decay, NonNegative, Positive
from autoseg.trainers.parameter_groups import Parameters, decayed_groups


class AngularGrad(torch.optim.Optimizer):
    """AngularGrad (Roy et al. 2021, arXiv 2105.10190), of the cosine or the tangent of the angle.

    For each weight A = arctan |(g − g′) / (1 + g g′)| is the angle between its gradient and the one before, 0 before
    the first; of this angle and the one before it the lesser counts. Adam's step is multiplied by
    ½ + ½ tanh(∠ A): with the cosine it is largest where the gradient stays as it is, with the tangent where it turns.
    ε stands beside the root of the second moment, as Adam's does.
    """

    def __init__(
        self,
        parameters: Parameters,
        *,
        learning_rate: Positive,
        angle: Literal["cos", "tan"] = "cos",
        beta1: Decay = 0.9,
        beta2: Decay = 0.999,
        epsilon: Positive = 1e-8,
        weight_decay: NonNegative = 0.0,
    ) -> None:
        defaults = {"lr": learning_rate, "angle": angle, "betas": (beta1, beta2), "eps": epsilon}
        super().__init__(decayed_groups(parameters, weight_decay), defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Make one step from the gradients as they are."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(self, parameter: nn.Parameter, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            for name in ("first", "second", "gradient"):
                state[name] = torch.zeros_like(parameter)
            # Of no angle before the first: the first is the lesser.
            state["tangent"] = torch.full_like(parameter, torch.inf)
        if group["weight_decay"]:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
        beta1, beta2 = group["betas"]
        # The step stays a tensor: planning counts this on tensors that hold no numbers.
        state["step"] += 1
        state["first"].lerp_(gradient, 1 - beta1)
        state["second"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        deviation = (state["second"] / share_seen(beta2, state["step"])).sqrt_().add_(group["eps"])
        moved = self._coefficient(state, gradient, group["angle"]).mul_(state["first"])
        parameter.addcdiv_(moved / share_seen(beta1, state["step"]), deviation, value=-group["lr"])

    def _coefficient(self, state: dict[str, torch.Tensor], gradient: torch.Tensor, angle: str) -> torch.Tensor:
        """Return what a step is multiplied by; keep the gradient and its angle for the next one."""
        before = state["gradient"]
        tangent = (gradient - before).div_(gradient * before + 1).abs_()
        # The tangent grows with the angle: the lesser of the two tangents is that of the lesser angle.
        least = torch.minimum(state["tangent"], tangent)
        state["gradient"].copy_(gradient)
        state["tangent"].copy_(tangent)
        turned = least if angle == "tan" else least.square_().add_(1).rsqrt_()
        return turned.tanh_().mul_(0.5).add_(0.5)


def share_seen(decay: float, step: torch.Tensor) -> torch.Tensor:
    """Return 1 − decay^step, the share of its true size that a moving average from 0 has; exact where it is little."""
    return -torch.expm1(step * (math.log(decay) if decay else -math.inf))
