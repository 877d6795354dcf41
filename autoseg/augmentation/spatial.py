"""Rotation and scaling: parameters in millimetres, one resampling call per batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from autoseg.augmentation.draws import NonNegative, PositiveRange, Probability

DUMMY_2D_RATIO = 3
"""If the ratio of the longest edge of a patch to its first edge is larger, the patch is rotated and scaled only within
slices (nnU-Net), because it has too few slices for other rotations."""
FREE_ASPECT = 1.5
"""If in-plane edges differ by a larger factor, the rotation angle is limited, to stay in the image (nnU-Net)."""
MOST_LINEAR_CLASSES = 20
"""Maximum number of classes that are resampled linearly, one by one; with more, the nearest voxel is used."""


@dataclass(frozen=True)
class Rotation:
    """Probability and maximum angle of rotations."""

    probability: Probability = 0.2
    degrees: NonNegative | None = None
    """Maximum angle about each axis; None: 30 in 3D, 180 within slices, 15 in oblong slices (nnU-Net)."""


@dataclass(frozen=True)
class Scaling:
    """Probability and factor of scaling, one factor for all axes; above 1, anatomy becomes smaller."""

    probability: Probability = 0.2
    range: PositiveRange = (0.7, 1.4)


@dataclass(frozen=True)
class SpatialParameters:
    """The transformation of one sample."""

    matrix: tuple[tuple[float, ...], ...]
    """Maps offsets from the centre of the result to offsets from the centre of the source, in voxels."""


@dataclass(frozen=True)
class Spatial:
    """Rotation and scaling for patches of one shape."""

    patch: tuple[int, ...]
    spacing: tuple[float, ...]
    rotation: Rotation
    scaling: Scaling

    def sample(self, rng: np.random.Generator) -> SpatialParameters | None:
        """Draw a transformation; None means no change."""
        is_rotated = rng.random() < self.rotation.probability
        scales = rng.random() < self.scaling.probability
        angles = np.radians(rng.uniform(-1, 1, 3) * self.most_degrees)
        factor = float(rng.uniform(*self.scaling.range))
        if not is_rotated and not scales:
            return None
        return self._parameters(angles if is_rotated else np.zeros(3), factor if scales else 1.0)

    def source_size(self, parameters: SpatialParameters | None) -> tuple[int, ...]:
        """Return the size of the region around the centre that the transformed patch needs, at least the patch size."""
        if parameters is None:
            return self.patch
        half = (np.array(self.patch) - 1) / 2
        reach = np.abs(np.array(parameters.matrix)) @ half
        more = np.ceil(np.maximum(reach - half, 0)).astype(int)
        return tuple(int(n + 2 * m) for n, m in zip(self.patch, more, strict=True))

    @property
    def enlarges(self) -> bool:
        """Whether some samples need a source region larger than the patch."""
        return self.rotation.probability > 0 or self.scaling.probability > 0

    @property
    def turned_axes(self) -> tuple[int, ...]:
        """Axes of the patch that a rotation changes."""
        axes = len(self.patch)
        return (axes - 2, axes - 1) if is_flat(self.patch) else tuple(range(axes))

    @property
    def most_degrees(self) -> float:
        """Maximum rotation angle about any axis, in degrees."""
        if self.rotation.degrees is not None:
            return self.rotation.degrees
        plane = self.patch[-2:]
        if len(self.patch) == 3 and not is_flat(self.patch):
            return 30.0
        return 15.0 if max(plane) / min(plane) > FREE_ASPECT else 180.0

    def _parameters(self, angles: np.ndarray, factor: float) -> SpatialParameters:
        if len(self.patch) == 3 and not is_flat(self.patch):
            turned = _turn(3, 1, 2, angles[0]) @ _turn(3, 0, 2, angles[1]) @ _turn(3, 0, 1, angles[2]) * factor
        else:
            axes = len(self.patch)
            scales = np.diag([1.0] * (axes - 2) + [factor] * 2)
            turned = _turn(axes, axes - 2, axes - 1, angles[0]) @ scales
        # Rotate in millimetres: a rotation in anisotropic voxels would shear the anatomy.
        spacing = np.array(self.spacing)
        in_voxels = turned * spacing[None, :] / spacing[:, None]
        return SpatialParameters(tuple(tuple(float(n) for n in row) for row in in_voxels))


def is_flat(patch: tuple[int, ...]) -> bool:
    """Return whether a 3D patch has too few slices for rotations out of the slice plane."""
    return len(patch) == 3 and max(patch) / patch[0] > DUMMY_2D_RATIO


def _turn(axes: int, first: int, second: int, angle: float) -> np.ndarray:
    """Return the rotation matrix in the plane of two axes."""
    matrix = np.eye(axes)
    matrix[first, first] = matrix[second, second] = math.cos(angle)
    matrix[first, second], matrix[second, first] = -math.sin(angle), math.sin(angle)
    return matrix


def resample(
    images: Sequence[torch.Tensor],
    labels: Sequence[torch.Tensor],
    parameters: Sequence[SpatialParameters],
    patch: tuple[int, ...],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Transform samples [C,*size] and labels [*size] of any size to patches; values outside the source are 0.

    Images are resampled linearly. For labels, each class is resampled linearly and the largest value wins; with more
    than :data:`MOST_LINEAR_CLASSES` classes, the nearest voxel is used.
    """
    size = _common_size(labels)
    stacked = torch.stack([_pad_around(image.float(), size) for image in images])
    classes = torch.stack([_pad_around(label, size) for label in labels])
    grid = _grid([p.matrix for p in parameters], size, patch, stacked.device)
    moved = F.grid_sample(stacked, grid, align_corners=False)
    return moved, _resample_labels(classes, grid)


def resample_labels(
    labels: Sequence[torch.Tensor], parameters: Sequence[SpatialParameters], patch: tuple[int, ...]
) -> torch.Tensor:
    """Transform label maps [*size] as :func:`resample` transforms the labels of images."""
    size = _common_size(labels)
    classes = torch.stack([_pad_around(label, size) for label in labels])
    return _resample_labels(classes, _grid([p.matrix for p in parameters], size, patch, classes.device))


def _common_size(labels: Sequence[torch.Tensor]) -> tuple[int, ...]:
    return tuple(int(n) for n in np.max([tuple(label.shape) for label in labels], axis=0))


def _pad_around(array: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """Pad with zeros equally on all sides; differences to ``size`` are even, so the centre does not move."""
    missing = [n - m for n, m in zip(size, array.shape[-len(size) :], strict=True)]
    return F.pad(array, [n for m in reversed(missing) for n in (m // 2, m - m // 2)])


def _grid(
    matrices: Sequence[tuple[tuple[float, ...], ...]],
    size: tuple[int, ...],
    patch: tuple[int, ...],
    device: torch.device,
) -> torch.Tensor:
    return sampling_grid(torch.tensor(matrices, dtype=torch.float32, device=device), size, patch)


def sampling_grid(maps: torch.Tensor, size: Sequence[int], patch: Sequence[int]) -> torch.Tensor:
    """Return the source position of each patch voxel in grid_sample's form: [N,*patch,(x,y,z)] from -1 to 1.

    ``maps`` [N,axes,axes]: from offsets from the centre of the patch to offsets from the centre of a source of ``size``
    voxels.
    """
    axes = [torch.arange(n, dtype=torch.float32, device=maps.device) - (n - 1) / 2 for n in patch]
    offsets = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    scale = torch.tensor(size, dtype=torch.float32, device=maps.device)[:, None]
    return torch.einsum("...j,nij->n...i", offsets, maps * 2 / scale).flip(-1)


def _resample_labels(labels: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    present = _foreground(labels)
    if len(present) > MOST_LINEAR_CLASSES:
        nearest = F.grid_sample(labels[:, None].float(), grid, mode="nearest", align_corners=False)
        return nearest[:, 0].to(labels.dtype)
    winner = labels.new_zeros(grid.shape[:-1])
    best = torch.zeros(grid.shape[:-1], device=grid.device)
    background = torch.ones_like(best)
    for value in present:
        share = F.grid_sample((labels == value)[:, None].float(), grid, align_corners=False)[:, 0]
        background -= share
        winner = torch.where(share > best, value, winner)
        best = torch.maximum(best, share)
    # Voxels outside the source are background. Background also wins at ties with the best class.
    return torch.where(best > background, winner, 0).to(labels.dtype)


def _foreground(labels: torch.Tensor) -> list[int]:
    """Return the non-zero values that occur; counting takes a tenth of the time of sorting."""
    lowest = min(0, int(labels.amin()))
    counts = torch.bincount((labels.int() - lowest if lowest else labels).flatten())
    return [value for index in counts.nonzero().flatten().tolist() if (value := index + lowest) != 0]
