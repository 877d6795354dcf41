"""Abutting tiles for networks with a margin, whose logits cover only the centre of their input."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from autoseg.inference.blending import home_of
from autoseg.inference.empty_tiles import Forward
from autoseg.inference.tiles import Shape

TILE_VOXELS = 2_000_000
"""Maximum voxels of a tile. Neighbouring tiles compute their margins twice, so large tiles cost less in total. A cube
of 125 needs about the memory of a U-Net's patch of 128."""


@dataclass(frozen=True)
class AbuttingTiles:
    """Tiles whose outputs abut, so that exactly one tile predicts each voxel of an image."""

    image: Shape
    output: Shape
    """Size of the predicted part of a tile."""
    margin: Shape
    counts: Shape
    """Number of tiles along each axis."""

    @property
    def patch(self) -> Shape:
        """Size of a tile at the input of the network: the output and the margins."""
        return tuple(n + 2 * m for n, m in zip(self.output, self.margin, strict=True))

    @property
    def axis(self) -> int:
        """The axis with the most tiles; rows of tiles are completed one after the other along it."""
        return max(range(len(self.counts)), key=lambda axis: self.counts[axis])

    @property
    def starts(self) -> tuple[Shape, ...]:
        """First voxels of the outputs of all tiles in the image, sorted along :attr:`axis`.

        They are also the first voxels of the tiles in the padded image.
        """
        grid = itertools.product(
            *(range(0, n * size, size) for n, size in zip(self.counts, self.output, strict=True)),
        )
        return tuple(sorted(grid, key=lambda start: start[self.axis]))

    @property
    def padding(self) -> list[tuple[int, int]]:
        """Padding (before, after) of each axis: the margin, and the part of the last tile outside the image."""
        return [
            (m, m + count * size - n)
            for n, size, m, count in zip(self.image, self.output, self.margin, self.counts, strict=True)
        ]

    @property
    def padded(self) -> Shape:
        """Size of the padded image."""
        return tuple(n + sum(pad) for n, pad in zip(self.image, self.padding, strict=True))

    @property
    def share_held(self) -> float:
        """Share of an image's logits that is in memory at a time: the logits of one row of tiles."""
        row = [
            size if axis == self.axis else n * size
            for axis, (n, size) in enumerate(zip(self.counts, self.output, strict=True))
        ]
        return math.prod(row) / math.prod(self.image)


def valid_tiles(
    image: Shape, patch: Shape, margin: Shape, *, divisor: Shape | None = None, most: int = TILE_VOXELS
) -> AbuttingTiles:
    """Cover an image with few tiles of up to ``most`` voxels, or of the size ``patch`` if that is larger.

    The output size of a tile is a multiple of ``divisor``. All tiles then start on the grid of the coarsest pathway,
    which starts at the first voxel of the image, so that the result does not depend on the tiles.
    """
    steps = divisor or (1,) * len(image)
    smallest = [_multiple(p - 2 * m, d) for p, m, d in zip(patch, margin, steps, strict=True)]
    size = [_multiple(n, d) for n, d in zip(image, steps, strict=True)]
    while math.prod(n + 2 * m for n, m in zip(size, margin, strict=True)) > most:
        larger = [axis for axis in range(len(size)) if size[axis] > smallest[axis]]
        if not larger:
            break
        axis = max(larger, key=lambda a: size[a])
        size[axis] = max(smallest[axis], _multiple(-(-size[axis] // 2), steps[axis]))
    counts = tuple(-(-n // s) for n, s in zip(image, size, strict=True))
    # Give all tiles the same size, as small as possible.
    even = tuple(_multiple(-(-n // count), d) for n, count, d in zip(image, counts, steps, strict=True))
    return AbuttingTiles(tuple(image), even, tuple(margin), counts)


def valid_tiled(
    forward: Forward, images: torch.Tensor, outputs: int, tiles: AbuttingTiles, *, together: int
) -> Iterator[tuple[tuple[slice, ...], torch.Tensor]]:
    """Yield the logits of padded images [N,C,*space] row by row, as (place in the image, logits [N,outputs,*space]).

    ``forward`` computes ``together`` tiles of each image at a time. The next iteration overwrites the row.
    """
    axis, size = tiles.axis, tiles.output
    whole = [n * count for n, count in zip(size, tiles.counts, strict=True)]
    whole[axis] = size[axis]
    shape = (images.shape[0], outputs, *whole)
    home = home_of(images.device, math.prod(shape) * torch.float32.itemsize)
    row = torch.empty(shape, device=home)
    for first, starts in itertools.groupby(tiles.starts, key=lambda start: start[axis]):
        waiting = list(starts)
        for begin in range(0, len(waiting), together):
            batch = waiting[begin : begin + together]
            seen = torch.cat([images[(slice(None), slice(None), *_place(start, tiles.patch))] for start in batch])
            for start, logits in zip(batch, forward(seen).to(home).unflatten(0, (len(batch), -1)), strict=True):
                inside = tuple(0 if a == axis else n for a, n in enumerate(start))
                row[(slice(None), slice(None), *_place(inside, size))] = logits
        place = tuple(
            slice(first, min(first + size[axis], n)) if a == axis else slice(0, n) for a, n in enumerate(tiles.image)
        )
        yield place, row[(slice(None), slice(None), *(slice(0, p.stop - p.start) for p in place))]


def _multiple(size: int, step: int) -> int:
    return -(-size // step) * step


def _place(start: Shape, size: Shape) -> tuple[slice, ...]:
    return tuple(slice(s, s + n) for s, n in zip(start, size, strict=True))
