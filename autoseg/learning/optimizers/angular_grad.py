"""AngularGrad: Adam with a step size that depends on the angle between consecutive gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn

from autoseg.learning.optimizers.decay import Parameters, decayed_groups
from autoseg.registry import Decay, NonNegative, Positive


class AngularGrad(torch.optim.Optimizer):
    """AngularGrad (Roy et al. 2021, arXiv 2105.10190), with the cosine or the tangent of the angle.

    For each weight, A = arctan |(g − g′) / (1 + g g′)| is the angle between its gradient g and the previous gradient
    g′, which is 0 before the first step. The smaller of this angle and the previous angle is used. Adam's step is
    multiplied by ½ + ½ tanh(∠ A). With ∠ = cos, the step is largest if the gradient does not change; with ∠ = tan, if
    its direction changes. ε is added to the root of the second moment, as in Adam.
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
        """Make one step with the current gradients."""
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
            # No previous angle exists at the first step: infinity makes the minimum the first angle.
            state["tangent"] = torch.full_like(parameter, torch.inf)
        if group["weight_decay"]:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
        beta1, beta2 = group["betas"]
        # The step stays a tensor: planning counts this code on fake tensors, which contain no numbers.
        state["step"] += 1
        state["first"].lerp_(gradient, 1 - beta1)
        state["second"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        std = (state["second"] / share_seen(beta2, state["step"])).sqrt_().add_(group["eps"])
        moved = self._coefficient(state, gradient, group["angle"]).mul_(state["first"])
        parameter.addcdiv_(moved / share_seen(beta1, state["step"]), std, value=-group["lr"])

    def _coefficient(self, state: dict[str, torch.Tensor], gradient: torch.Tensor, angle: str) -> torch.Tensor:
        """Return the factor of the step; store the gradient and its angle for the next step."""
        before = state["gradient"]
        tangent = (gradient - before).div_(gradient * before + 1).abs_()
        # The tangent grows with the angle: the smaller tangent belongs to the smaller angle.
        least = torch.minimum(state["tangent"], tangent)
        state["gradient"].copy_(gradient)
        state["tangent"].copy_(tangent)
        turned = least if angle == "tan" else least.square_().add_(1).rsqrt_()
        return turned.tanh_().mul_(0.5).add_(0.5)


def share_seen(decay: float, step: torch.Tensor) -> torch.Tensor:
    """Return 1 − decay^step, the bias correction of a moving average that starts at 0; accurate for small values."""
    return -torch.expm1(step * (math.log(decay) if decay else -math.inf))
