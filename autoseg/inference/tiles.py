"""Where the tiles of a sliding window lie and how much each voxel of one counts."""

from __future__ import annotations

import itertools
import math
from functools import lru_cache

import torch

Shape = tuple[int, ...]

STEP = 0.5
"""Distance of neighbouring tiles as a share of the patch (nnU-Net)."""
GAUSSIAN_SIGMA = 1 / 8
"""Standard deviation of a tile's weights as a share of the patch: borders see little context, so they count little
(nnU-Net)."""
WHOLE = 1.6
"""Images of up to so many patches are one tile: it costs less than the two to eight that would cover them, and has no
seam. On hippocampus a third of the time is saved, and Dice is the same to 0.0001."""


def fitting_patch(image: Shape, patch: Shape, divisor: Shape, *, least: int = 0) -> Shape:
    """Return the patch, grown to hold the whole of an image that is only a little larger.

    Tiles of up to ``least`` voxels hold a whole image whatever the patch.
    """
    grown = tuple(max(p, math.ceil(n / d) * d) for n, p, d in zip(image, patch, divisor, strict=True))
    return grown if math.prod(grown) <= max(WHOLE * math.prod(patch), least) else patch


def tile_starts(image: Shape, patch: Shape, *, step: float = STEP) -> list[Shape]:
    """Return the first voxels of tiles that cover an image at least as large as the patch, evenly spread."""
    return list(itertools.product(*(_axis_starts(n, p, step) for n, p in zip(image, patch, strict=True))))


def _axis_starts(image: int, patch: int, step: float) -> list[int]:
    room = image - patch
    count = math.ceil(room / max(patch * step, 1)) + 1
    return [round(i * room / max(count - 1, 1)) for i in range(count)]


def padding(image: Shape, patch: Shape) -> list[tuple[int, int]]:
    """Return the zeros before and after each axis that bring an image up to the patch, itself in the middle."""
    missing = [max(p - n, 0) for n, p in zip(image, patch, strict=True)]
    return [(m - m // 2, m // 2) for m in missing]


@lru_cache(maxsize=16)
def gaussian_weights(patch: Shape) -> torch.Tensor:
    """Return the weights of a tile, [*patch] float32, 1 at its centre and nowhere 0."""
    weights = torch.ones(())
    for n in patch:
        distance = torch.arange(n, dtype=torch.float32) - (n - 1) / 2
        axis = torch.exp(-0.5 * (distance / (n * GAUSSIAN_SIGMA)) ** 2)
        weights = weights[..., None] * axis
    return weights.clamp_min(1e-4)


def mirrorings(axes: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return every combination of ``axes`` to mirror along, the empty one first."""
    return [combination for count in range(len(axes) + 1) for combination in itertools.combinations(axes, count)]
