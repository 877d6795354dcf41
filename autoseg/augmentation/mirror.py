"""Mirroring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from autoseg.augmentation.draws import Probability


@dataclass(frozen=True)
class Mirror:
    """How often samples are mirrored, along each of the plan's mirror axes by itself."""

    probability: Probability = 0.5

    def sample(self, rng: np.random.Generator, axes: Sequence[int]) -> tuple[int, ...]:
        """Draw along which of the spatial ``axes`` a sample is mirrored."""
        return tuple(axis for axis in axes if rng.random() < self.probability)


def mirror(images: torch.Tensor, labels: torch.Tensor, axes: Sequence[tuple[int, ...]]) -> None:
    """Mirror samples of images [N,C,*space] and labels [N,*space] in place, each along its own spatial axes."""
    for index, along in enumerate(axes):
        if along:
            images[index] = images[index].flip([axis + 1 for axis in along])
            labels[index] = labels[index].flip(list(along))
