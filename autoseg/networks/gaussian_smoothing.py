"""Smoothing of logits with a fixed Gaussian."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

TRUNCATED = 3.5
"""Cutoff of the Gaussian in std: 99.95 % of its weight lies inside, as in the thesis, which uses 50 pixels."""


class GaussianSmoothing(nn.Module):
    """Smooth each channel of [B,C,*space] with a Gaussian whose std is ``sigma`` voxels (Joakimsen 2021).

    Weights are normalized to a sum of 1. At borders, the weights inside the image are, so that a constant map does not
    change.
    """

    def __init__(self, sigma: float) -> None:
        super().__init__()
        radius = max(1, math.ceil(TRUNCATED * sigma))
        places = torch.arange(-radius, radius + 1, dtype=torch.float32)
        weights = torch.exp(-(places**2) / (2 * sigma**2))
        self.register_buffer("weights", weights / weights.sum(), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the smoothed map [B,C,*space]."""
        for axis in range(2, x.ndim):
            x = self._along(x, axis) / self._along(torch.ones_like(x[:1, :1]), axis)
        return x

    def _along(self, x: torch.Tensor, axis: int) -> torch.Tensor:
        """Smooth along one axis, with zeros outside the image."""
        lines = x.movedim(axis, -1)
        kernel = self.get_buffer("weights").to(x.dtype)[None, None]
        flat = F.conv1d(lines.reshape(-1, 1, lines.shape[-1]), kernel, padding=kernel.shape[-1] // 2)
        return flat.view(lines.shape).movedim(-1, axis)
