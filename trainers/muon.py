"""Muon: momentum whose matrices are made orthogonal, so that every direction of a layer learns at the same pace."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from autoseg.quantities import Decay, NonNegative, Positive

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration that drives singular values towards 1 quickest (Jordan et al. 2024)."""
NEWTON_SCHULZ_STEPS = 5
UPDATE_SIZE = 0.2
"""Root mean square of an update relative to the learning rate: about that of AdamW's (Liu et al. 2025), so that one
learning rate suits both."""
FEWEST_MIXED = 8
"""Channels on both sides from which a kernel of one voxel counts as inside the network: most heads have fewer."""
_SMALL = 1e-7


class Muon(torch.optim.Optimizer):
    """Muon for convolution kernels, AdamW for all other parameters.

    Orthogonalized momentum after Jordan et al. 2024 (Muon), scaled to AdamW's size of update after Liu et al. 2025
    (arXiv 2502.16982, eq. 4). A kernel [out, in, *size] is taken as the matrix [out, in × size]; biases, normalization,
    1×1 heads of few classes and kernels that see a single channel are left to AdamW with ``vector_learning_rate``.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        learning_rate: Positive,
        vector_learning_rate: Positive,
        momentum: Decay = 0.95,
        beta1: Decay = 0.9,
        beta2: Decay = 0.999,
        weight_decay: NonNegative = 0.01,
    ) -> None:
        kernels: list[nn.Parameter] = []
        matrices: list[nn.Parameter] = []
        vectors: list[nn.Parameter] = []
        for parameter in parameters:
            chosen = kernels if is_kernel(parameter) else matrices if parameter.ndim > 1 else vectors
            chosen.append(parameter)
        groups: list[dict[str, Any]] = [
            {"params": kernels, "lr": learning_rate, "weight_decay": weight_decay, "orthogonal": True},
            {"params": matrices, "lr": vector_learning_rate, "weight_decay": weight_decay, "orthogonal": False},
            {"params": vectors, "lr": vector_learning_rate, "weight_decay": 0.0, "orthogonal": False},
        ]
        defaults = {"momentum": momentum, "betas": (beta1, beta2)}
        super().__init__([group for group in groups if group["params"]], defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Make one step from the gradients as they are."""
        for group in self.param_groups:
            update = self._orthogonal if group["orthogonal"] else self._adam
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    update(parameter, parameter.grad, group)

    def _orthogonal(self, parameter: nn.Parameter, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(gradient, 1 - group["momentum"])
        # Nesterov: look ahead by one more step of the momentum.
        direction = gradient.lerp(state["momentum"], group["momentum"]).flatten(1)
        scale = UPDATE_SIZE * math.sqrt(max(direction.shape))
        parameter.add_(orthogonalized(direction).reshape(parameter.shape), alpha=-group["lr"] * scale)

    def _adam(self, parameter: nn.Parameter, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["first"] = torch.zeros_like(parameter)
            state["second"] = torch.zeros_like(parameter)
        beta1, beta2 = group["betas"]
        state["step"] += 1
        state["first"].lerp_(gradient, 1 - beta1)
        state["second"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        # The step stays a tensor: planning counts this on tensors that hold no numbers.
        deviation = (state["second"] / (1 - beta2 ** state["step"])).sqrt_().add_(1e-8)
        parameter.addcdiv_(state["first"] / (1 - beta1 ** state["step"]), deviation, value=-group["lr"])


def is_kernel(parameter: torch.Tensor) -> bool:
    """Tell whether a parameter is a convolution kernel that mixes channels: of several voxels, or of many channels.

    Beside depthwise convolutions, those of a single voxel do all the mixing.
    """
    if parameter.ndim < 3:
        return False
    is_point = parameter[0, 0].numel() == 1
    return min(parameter.shape[:2]) >= FEWEST_MIXED if is_point else parameter.shape[1] > 1


def orthogonalized(matrix: torch.Tensor) -> torch.Tensor:
    """Return, nearly, the orthogonal matrix next to ``matrix``: its singular values become about 1 (0.7 to 1.2).

    Newton–Schulz iteration in bfloat16, which it tolerates (Jordan et al. 2024); returns float32.
    """
    a, b, c = NEWTON_SCHULZ
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = (wide / (wide.norm() + _SMALL)).bfloat16()
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    result = x.float()
    return result.T if matrix.shape[0] > matrix.shape[1] else result
