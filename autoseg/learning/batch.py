"""Samples and batches of training, and the geometry between two views of one sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from autoseg.augmentation import Parameters
from autoseg.augmentation.mirror import swap_channels
from autoseg.augmentation.spatial import sampling_grid
from autoseg.preprocessing.mirrored_labels import MirroredLabels

UNKNOWN = -1
"""Value of a tag or site that is not known."""


@dataclass(frozen=True)
class Sample:
    """One patch before augmentation: image [C,*size], labels [*size], and the parameters of its augmentation.

    ``annotated`` [outputs] bool as in :class:`Batch`.
    """

    image: np.ndarray
    labels: np.ndarray
    parameters: Parameters
    previous: np.ndarray | None = None
    """Label map [*size] of the previous stage; None without a previous stage."""
    annotated: np.ndarray | None = None
    seed: int = 0
    """Seed of the random numbers that a network draws while it trains on the sample."""
    case: int = 0
    """Index of the case in its stream."""
    second: Sample | None = None
    """A second view of the same place with its own augmentation; None in streams with one view."""


@dataclass(frozen=True)
class Batch:
    """Images [B,C,*patch] float32 and labels [B,*output] int64 on the training device; ignored voxels have label −1.

    The output is the patch, less the network's margin on each side. All labels of an unlabelled case are −1.
    ``annotated`` [B,outputs] bool: classes that are annotated in each sample; None: all classes in all samples.
    ``seeds`` are the seeds of the samples; None in measurements of memory or time.
    """

    images: torch.Tensor
    labels: torch.Tensor
    annotated: torch.Tensor | None = None
    seeds: tuple[int, ...] | None = None
    cases: tuple[str, ...] = ()
    """Names of the cases of the samples."""
    tags: torch.Tensor | None = None
    """[B,tags] int64: 1 if the case has a tag, 0 if not, −1 if unknown; None if the dataset has no tags."""
    sites: torch.Tensor | None = None
    """[B] int64: number of the site in the sorted sites of the dataset, −1 if unknown; None without sites."""
    second: SecondView | None = None
    """Second view of the samples; None in streams with one view."""


@dataclass(frozen=True)
class SecondView:
    """A second view of each sample of a batch, with its own augmentation.

    ``images`` [B,C,*patch] float32 and ``labels`` [B,*output] int64 are as in :class:`Batch`.
    """

    images: torch.Tensor
    labels: torch.Tensor
    between: torch.Tensor
    """[B,axes,axes]: maps offsets from the centre of the second view to offsets from the centre of the first."""
    swapped: tuple[bool, ...]
    """Whether exactly one of the views of a sample is mirrored across the body."""
    mirrored_labels: MirroredLabels | None = None

    def mapped(self, predicted: torch.Tensor, *, outputs: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what was predicted for the first view on the grid of the second view, and where it is known.

        ``predicted`` [B,channels,*space] is a prediction, or a hidden layer of any resolution whose field of view is
        the output. With ``outputs``, its channels are the outputs of the network: those of left and right are swapped
        where only one view is mirrored across the body. The mask [B,*space] is true where the first view contains the
        voxel.
        """
        space = tuple(predicted.shape[2:])
        grid = sampling_grid(self._between(space).to(predicted.device), space, space)
        moved = F.grid_sample(predicted.float(), grid, align_corners=False, padding_mode="border")
        # Outside the centres of the outermost voxels, values are extrapolated.
        edge = torch.tensor([1 - 1 / n for n in reversed(space)], device=grid.device) + 1e-4
        known = (grid.abs() <= edge).all(-1)
        if outputs and self.mirrored_labels is not None:
            moved = swap_channels(moved, self.swapped, self.mirrored_labels)
        return moved, known

    def _between(self, space: Sequence[int]) -> torch.Tensor:
        """Return the maps for a grid of ``space`` voxels, which may be coarser than the output."""
        stride = torch.tensor(
            [n / m for n, m in zip(self.labels.shape[1:], space, strict=True)], device=self.between.device
        )
        return self.between * stride[None, None, :] / stride[None, :, None]


def maps_between(first: Sequence[Parameters], second: Sequence[Parameters], axes: int) -> torch.Tensor:
    """Return the maps [B,axes,axes] of offsets from the centre of second views to those of first views."""
    maps = [
        np.linalg.solve(offset_map(one, axes), offset_map(other, axes))
        for one, other in zip(first, second, strict=True)
    ]
    return torch.from_numpy(np.stack(maps)).float()


def offset_map(parameters: Parameters, axes: int) -> np.ndarray:
    """Return the map [axes,axes] of offsets from the centre of an augmented patch to offsets in its source."""
    matrix = np.eye(axes) if parameters.spatial is None else np.array(parameters.spatial.matrix)
    signs = [-1.0 if axis in parameters.mirror else 1.0 for axis in range(axes)]
    return np.asarray(matrix * np.array(signs)[None, :])
