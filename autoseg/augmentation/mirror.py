"""Mirroring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from autoseg.augmentation.draws import Probability
from autoseg.preprocessing.mirrored_labels import MirroredLabels


@dataclass(frozen=True)
class Mirror:
    """Probability of mirroring a sample, independently along each of the plan's mirror axes."""

    probability: Probability = 0.5

    def sample(self, rng: np.random.Generator, axes: Sequence[int]) -> tuple[int, ...]:
        """Draw the spatial axes, among ``axes``, along which a sample is mirrored."""
        return tuple(axis for axis in axes if rng.random() < self.probability)


def mirror(images: torch.Tensor, labels: torch.Tensor, axes: Sequence[tuple[int, ...]]) -> None:
    """Mirror samples of images [N,C,*space] and labels [N,*space] in place, each along its own spatial axes."""
    for index, along in enumerate(axes):
        if along:
            images[index] = images[index].flip([axis + 1 for axis in along])
            labels[index] = labels[index].flip(list(along))


def swap_labels(labels: torch.Tensor, axes: Sequence[tuple[int, ...]], mirrored_labels: MirroredLabels) -> None:
    """Swap mirrored labels (left and right) of labels [N,*space], in place, in samples mirrored across the body.

    ``axes`` as for :func:`mirror`; labels are indices of preprocessed label maps.
    """
    table = torch.tensor(mirrored_labels.labels, dtype=labels.dtype, device=labels.device)
    for index, along in enumerate(axes):
        if mirrored_labels.axis in along:
            # Ignored voxels are -1, which is the index of the last entry.
            labels[index] = table[labels[index].long()]


def negate(images: torch.Tensor, axes: Sequence[tuple[int, ...]], mirrored_labels: MirroredLabels) -> None:
    """Change the sign of some channels, in place, in samples [N,C,*space] mirrored across the body."""
    for index, along in enumerate(axes):
        if mirrored_labels.negated and mirrored_labels.axis in along:
            images[index, list(mirrored_labels.negated)] *= -1


def swap_outputs(
    values: torch.Tensor, axes: Sequence[tuple[int, ...]], mirrored_labels: MirroredLabels
) -> torch.Tensor:
    """Return ``values`` [N,outputs] with swapped outputs (left and right) in samples mirrored across the body."""
    return swap_channels(values, [mirrored_labels.axis in along for along in axes], mirrored_labels)


def swap_channels(values: torch.Tensor, swapped: Sequence[bool], mirrored_labels: MirroredLabels) -> torch.Tensor:
    """Return ``values`` [N,outputs,*space] with swapped outputs (left and right) in samples that are ``swapped``."""
    if not any(swapped):
        return values
    order = torch.tensor(mirrored_labels.outputs, device=values.device)
    chosen = torch.tensor(swapped, device=values.device).reshape(-1, *[1] * (values.ndim - 1))
    return torch.where(chosen, values[:, order], values)
