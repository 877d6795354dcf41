"""Mirroring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from autoseg.augmentation.draws import Probability
from autoseg.swapping import Swapping


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


def swap_labels(labels: torch.Tensor, axes: Sequence[tuple[int, ...]], swapping: Swapping) -> None:
    """Let labels [N,*space] change places, in place, in samples that were mirrored across the body.

    ``axes`` as for :func:`mirror`; labels are those of preprocessed label maps.
    """
    table = torch.tensor(swapping.labels, dtype=labels.dtype, device=labels.device)
    for index, along in enumerate(axes):
        if swapping.axis in along:
            # Ignored voxels are -1, which is the place of the last entry.
            labels[index] = table[labels[index].long()]


def negate(images: torch.Tensor, axes: Sequence[tuple[int, ...]], swapping: Swapping) -> None:
    """Change the sign of some channels, in place, in samples [N,C,*space] that were mirrored across the body."""
    for index, along in enumerate(axes):
        if swapping.negated and swapping.axis in along:
            images[index, list(swapping.negated)] *= -1


def swap_outputs(values: torch.Tensor, axes: Sequence[tuple[int, ...]], swapping: Swapping) -> torch.Tensor:
    """Return ``values`` [N,outputs] with outputs that have changed places in samples mirrored across the body."""
    order = torch.tensor(swapping.outputs, device=values.device)
    mirrored = torch.tensor([swapping.axis in along for along in axes], device=values.device)
    return torch.where(mirrored[:, None], values[:, order], values)
