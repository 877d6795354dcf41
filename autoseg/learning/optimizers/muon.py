"""Muon: momentum with orthogonalized matrices, so that all directions of a layer get updates of the same size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn

from autoseg.registry import Decay, NonNegative, Positive

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration that moves singular values fastest towards 1 (Jordan et al. 2024)."""
NEWTON_SCHULZ_STEPS = 5
UPDATE_SIZE = 0.2
"""Root mean square of an update relative to the learning rate: similar to AdamW (Liu et al. 2025), so that the same
learning rate works for both."""
FEWEST_MIXED = 8
"""Smallest number of input and output channels from which a 1×1 kernel uses Muon; most heads have fewer channels."""
_SMALL = 1e-7


class Muon(torch.optim.Optimizer):
    """Muon for convolution kernels, AdamW for all other parameters.

    The momentum is orthogonalized as in Jordan et al. 2024 (Muon), and scaled to the update size of AdamW as in Liu et
    al. 2025 (arXiv 2502.16982, eq. 4). A kernel [out, in, *size] becomes the matrix [out, in × size]. AdamW with
    ``vector_learning_rate`` updates biases, normalization, 1×1 heads with few classes and kernels with a single input
    channel.
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
        """Make one step with the current gradients."""
        for group in self.param_groups:
            learning = [parameter for parameter in group["params"] if parameter.grad is not None]
            if learning:
                torch._foreach_mul_(learning, 1 - group["lr"] * group["weight_decay"])
                (self._orthogonal if group["orthogonal"] else self._adam)(learning, group)

    def _orthogonal(self, parameters: Sequence[nn.Parameter], group: dict[str, Any]) -> None:
        for matrix_shape, alike in _by_matrix(parameters).items():
            gradients = [_gradient(parameter) for parameter in alike]
            momenta = self._states(alike, "momentum")
            torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
            # Nesterov momentum: apply the momentum once more.
            ahead = torch._foreach_lerp(gradients, momenta, group["momentum"])
            changes = orthogonalized(torch.stack([tensor.flatten(1) for tensor in ahead]))
            scale = UPDATE_SIZE * math.sqrt(max(matrix_shape))
            for parameter, change in zip(alike, changes, strict=True):
                parameter.add_(change.view(parameter.shape), alpha=-group["lr"] * scale)

    def _adam(self, parameters: Sequence[nn.Parameter], group: dict[str, Any]) -> None:
        gradients = [_gradient(parameter) for parameter in parameters]
        for parameter in parameters:
            self.state[parameter].setdefault("step", torch.zeros(()))
        steps = [self.state[parameter]["step"] for parameter in parameters]
        first, second = self._states(parameters, "first"), self._states(parameters, "second")
        beta1, beta2 = group["betas"]
        torch._foreach_add_(steps, 1)
        torch._foreach_lerp_(first, gradients, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, gradients, gradients, 1 - beta2)
        # Steps stay tensors: planning counts this code on fake tensors, which contain no numbers.
        stds = torch._foreach_div(second, [1 - beta2**step for step in steps])
        torch._foreach_sqrt_(stds)
        torch._foreach_add_(stds, 1e-8)
        means = torch._foreach_div(first, [1 - beta1**step for step in steps])
        torch._foreach_addcdiv_(list(parameters), means, stds, -group["lr"])

    def _states(self, parameters: Sequence[nn.Parameter], name: str) -> list[torch.Tensor]:
        """Return the state tensor ``name`` of each parameter; it starts with zeros."""
        for parameter in parameters:
            if name not in self.state[parameter]:
                self.state[parameter][name] = torch.zeros_like(parameter)
        return [self.state[parameter][name] for parameter in parameters]


def is_kernel(parameter: torch.Tensor) -> bool:
    """Return whether a parameter is a convolution kernel that mixes channels.

    Such a kernel has more than one voxel and more than one input channel, or is a 1×1 kernel with many channels. In
    networks with depthwise convolutions, only 1×1 kernels mix channels.
    """
    if parameter.ndim < 3:
        return False
    is_point = parameter[0, 0].numel() == 1
    return min(parameter.shape[:2]) >= FEWEST_MIXED if is_point else parameter.shape[1] > 1


def orthogonalized(matrices: torch.Tensor) -> torch.Tensor:
    """Return an approximation of the nearest orthogonal matrix of each of ``matrices`` [..., rows, columns] float32.

    Singular values become about 1 (0.7 to 1.2) if they were at least a thousandth of the norm. The quintic
    Newton-Schulz iteration of Jordan et al. 2024 is X ← P X with P = a + b G + c G² and G = X Xᵀ. All P and G commute,
    so that G ← P G P does not need X: the iteration runs on the Gram matrix of the smaller side, and X is multiplied
    once. This is a quarter of the work; on every device float32 takes no more time than bfloat16 did without it. A
    Gram matrix squares rounding errors, for which the precision of bfloat16 is too low.
    """
    if matrices.shape[-2] > matrices.shape[-1]:
        return orthogonalized(matrices.mT).mT
    a, b, c = NEWTON_SCHULZ
    norms = torch.linalg.vector_norm(matrices, dim=(-2, -1), keepdim=True)
    x = matrices / (norms + _SMALL)
    gram, product = x @ x.mT, None
    for step in range(NEWTON_SCHULZ_STEPS):
        polynomial = b * gram + c * (gram @ gram)
        polynomial.diagonal(dim1=-2, dim2=-1).add_(a)
        product = polynomial if product is None else polynomial @ product
        if step + 1 < NEWTON_SCHULZ_STEPS:
            gram = polynomial @ gram @ polynomial
    return product @ x


def _by_matrix(parameters: Sequence[nn.Parameter]) -> dict[tuple[int, int], list[nn.Parameter]]:
    """Group kernels whose matrices have the same shape: small matrices are much faster in one batch."""
    groups: dict[tuple[int, int], list[nn.Parameter]] = {}
    for parameter in parameters:
        groups.setdefault((len(parameter), parameter[0].numel()), []).append(parameter)
    return groups


def _gradient(parameter: nn.Parameter) -> torch.Tensor:
    if parameter.grad is None:
        raise ValueError("this parameter has no gradient")
    return parameter.grad
