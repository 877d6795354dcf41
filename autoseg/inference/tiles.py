"""Positions of the tiles of a sliding window, and the weight of each voxel of a tile."""

from __future__ import annotations

import itertools
import math
from functools import lru_cache

import torch

Shape = tuple[int, ...]

STEP = 0.5
"""Distance of neighbouring tiles as a share of the patch (nnU-Net)."""
GAUSSIAN_SIGMA = 1 / 8
"""Std of a tile's Gaussian weights as a share of the patch. Borders have little context, so they get small weights
(nnU-Net)."""
WHOLE = 1.6
"""Maximum size, in patches, of an image that is predicted as one tile. One tile is faster than the two to eight that
would cover the image, and has no seam. On hippocampus it saves a third of the time and changes Dice by less than
0.0001."""


def fitting_patch(image: Shape, patch: Shape, divisor: Shape, *, least: int = 0) -> Shape:
    """Return the tile size: the patch, or a larger size that covers the whole image if this is little larger.

    A tile of up to ``least`` voxels always covers the whole image. Tile sizes are multiples of ``divisor``.
    """
    grown = tuple(max(p, math.ceil(n / d) * d) for n, p, d in zip(image, patch, divisor, strict=True))
    return grown if math.prod(grown) <= max(WHOLE * math.prod(patch), least) else patch


def tile_starts(image: Shape, patch: Shape, *, step: float = STEP) -> list[Shape]:
    """Return the first voxels of evenly spaced tiles that cover an image; it must be at least as large as the patch."""
    return list(itertools.product(*(_axis_starts(n, p, step) for n, p in zip(image, patch, strict=True))))


def _axis_starts(image: int, patch: int, step: float) -> list[int]:
    room = image - patch
    count = math.ceil(room / max(patch * step, 1)) + 1
    return [round(i * room / max(count - 1, 1)) for i in range(count)]


def padding(image: Shape, patch: Shape) -> list[tuple[int, int]]:
    """Return the padding (before, after) of each axis that extends an image to the patch size and centres it."""
    missing = [max(p - n, 0) for n, p in zip(image, patch, strict=True)]
    return [(m - m // 2, m // 2) for m in missing]


@lru_cache(maxsize=16)
def gaussian_weights(patch: Shape) -> torch.Tensor:
    """Return the Gaussian weights of a tile, [*patch] float32, 1 at the centre and above 0 everywhere."""
    weights = torch.ones(())
    for n in patch:
        distance = torch.arange(n, dtype=torch.float32) - (n - 1) / 2
        axis = torch.exp(-0.5 * (distance / (n * GAUSSIAN_SIGMA)) ** 2)
        weights = weights[..., None] * axis
    return weights.clamp_min(1e-4)


def mirrorings(axes: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return every combination of ``axes`` to mirror along, starting with the empty one."""
    return [combination for count in range(len(axes) + 1) for combination in itertools.combinations(axes, count)]
