"""Muon: momentum whose matrices are made orthogonal, so that every direction of a layer learns at the same pace."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
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
            learning = [parameter for parameter in group["params"] if parameter.grad is not None]
            if learning:
                torch._foreach_mul_(learning, 1 - group["lr"] * group["weight_decay"])
                (self._orthogonal if group["orthogonal"] else self._adam)(learning, group)

    def _orthogonal(self, parameters: Sequence[nn.Parameter], group: dict[str, Any]) -> None:
        for matrix_shape, alike in _by_matrix(parameters).items():
            gradients = [_gradient(parameter) for parameter in alike]
            momenta = self._states(alike, "momentum")
            torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
            # Nesterov: look ahead by one more step of the momentum.
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
        # Steps stay tensors: planning counts this on tensors that hold no numbers.
        deviations = torch._foreach_div(second, [1 - beta2**step for step in steps])
        torch._foreach_sqrt_(deviations)
        torch._foreach_add_(deviations, 1e-8)
        means = torch._foreach_div(first, [1 - beta1**step for step in steps])
        torch._foreach_addcdiv_(list(parameters), means, deviations, -group["lr"])

    def _states(self, parameters: Sequence[nn.Parameter], name: str) -> list[torch.Tensor]:
        """Return what is kept of each parameter under a name: zeros at first."""
        for parameter in parameters:
            if name not in self.state[parameter]:
                self.state[parameter][name] = torch.zeros_like(parameter)
        return [self.state[parameter][name] for parameter in parameters]


def is_kernel(parameter: torch.Tensor) -> bool:
    """Tell whether a parameter is a convolution kernel that mixes channels: of several voxels, or of many channels.

    Beside depthwise convolutions, those of a single voxel do all the mixing.
    """
    if parameter.ndim < 3:
        return False
    is_point = parameter[0, 0].numel() == 1
    return min(parameter.shape[:2]) >= FEWEST_MIXED if is_point else parameter.shape[1] > 1


def orthogonalized(matrices: torch.Tensor) -> torch.Tensor:
    """Return, nearly, the orthogonal matrix next to each of ``matrices`` [..., rows, columns] float32.

    Singular values become about 1 (0.7 to 1.2), however small they were, down to a thousandth of the norm. The quintic
    Newton-Schulz iteration of Jordan et al. 2024 is X ← P X with P = a + b G + c G² and G = X Xᵀ. All of these P and G
    commute, so that G ← P G P follows without X: everything is computed on the smaller side's Gram matrix, and X is
    multiplied once. That is a quarter of the work, so that float32 takes no more time than bfloat16 did on any device;
    Gram matrices square what rounding loses, which bfloat16 would not bear.
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
    """Group kernels whose matrices have the same shape: small ones are computed many times as fast together."""
    groups: dict[tuple[int, int], list[nn.Parameter]] = {}
    for parameter in parameters:
        groups.setdefault((len(parameter), parameter[0].numel()), []).append(parameter)
    return groups


def _gradient(parameter: nn.Parameter) -> torch.Tensor:
    if parameter.grad is None:
        raise ValueError("a parameter that does not learn has no gradient")
    return parameter.grad
