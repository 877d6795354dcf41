"""Normal distributions with independent coordinates, used for latent variables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class DiagonalGaussian:
    """A normal distribution with independent coordinates for each sample; both fields are [B,coordinates] float32."""

    mean: torch.Tensor
    log_variance: torch.Tensor

    def at(self, noise: torch.Tensor) -> torch.Tensor:
        """Transform standard normal ``noise``, [coordinates] or [B,coordinates], to samples of this distribution."""
        return self.mean + torch.exp(0.5 * self.log_variance) * noise

    def divergence(self, other: DiagonalGaussian) -> torch.Tensor:
        """Return the Kullback–Leibler divergence of each sample's distribution from ``other``'s, [B] in nats.

        Closed form: ½ Σ (v/w + (μ − ν)²/w − 1 − ln(v/w)) with means μ, ν and variances v, w (Kingma and Welling 2014,
        appendix B, for any two distributions).
        """
        ratio = self.log_variance - other.log_variance
        distance = (self.mean - other.mean).square() * torch.exp(-other.log_variance)
        return 0.5 * (ratio.exp() + distance - 1 - ratio).sum(dim=1)


def standard_normal(seeds: Sequence[int], coordinates: int, device: torch.device) -> torch.Tensor:
    """Return standard normal numbers [B,coordinates] float32, drawn from one seed per sample; equal on all devices."""
    drawn = [np.random.default_rng(seed).standard_normal(coordinates, dtype=np.float32).tolist() for seed in seeds]
    return torch.tensor(drawn, device=device)
