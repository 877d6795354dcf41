"""Tiles that lie beside each other, of networks that give logits of the middle of what they see."""

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
"""Voxels of a tile: neighbours see the same margins again, so that large tiles cost less in all. A cube of 125 takes
about the memory of a U-Net's patch of 128."""


@dataclass(frozen=True)
class AbuttingTiles:
    """Tiles of which each voxel of an image is predicted by one."""

    image: Shape
    output: Shape
    """What is predicted of a tile."""
    margin: Shape
    counts: Shape
    """Tiles along each axis."""

    @property
    def patch(self) -> Shape:
        """A tile as the network sees it."""
        return tuple(n + 2 * m for n, m in zip(self.output, self.margin, strict=True))

    @property
    def axis(self) -> int:
        """The axis along which rows of tiles are finished one after the other, that of the most."""
        return max(range(len(self.counts)), key=lambda axis: self.counts[axis])

    @property
    def starts(self) -> tuple[Shape, ...]:
        """First voxels of what is predicted of each tile, in the image, which are those of the tile in the padded one.

        Ordered along :attr:`axis`.
        """
        grid = itertools.product(
            *(range(0, n * size, size) for n, size in zip(self.counts, self.output, strict=True)),
        )
        return tuple(sorted(grid, key=lambda start: start[self.axis]))

    @property
    def padding(self) -> list[tuple[int, int]]:
        """Zeros before and after each axis: the margin, and what the last tile has more than the image."""
        return [
            (m, m + count * size - n)
            for n, size, m, count in zip(self.image, self.output, self.margin, self.counts, strict=True)
        ]

    @property
    def padded(self) -> Shape:
        """The image with its padding."""
        return tuple(n + sum(pad) for n, pad in zip(self.image, self.padding, strict=True))

    @property
    def share_held(self) -> float:
        """How much of an image's logits is held at a time: those of one row of tiles."""
        row = [
            size if axis == self.axis else n * size
            for axis, (n, size) in enumerate(zip(self.counts, self.output, strict=True))
        ]
        return math.prod(row) / math.prod(self.image)


def abutting_tiles(
    image: Shape, patch: Shape, margin: Shape, *, divisor: Shape | None = None, most: int = TILE_VOXELS
) -> AbuttingTiles:
    """Cover an image with as few tiles of up to ``most`` voxels as will do, or of ``patch`` where that has more.

    What is predicted of a tile is a multiple of the ``divisor``, so that all tiles begin on the grid of the coarsest
    pathway, which the image's first voxel begins: what is predicted is the same whatever the tiles.
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
    # Tiles of one length, no longer than they need be.
    even = tuple(_multiple(-(-n // count), d) for n, count, d in zip(image, counts, steps, strict=True))
    return AbuttingTiles(tuple(image), even, tuple(margin), counts)


def abutting(
    forward: Forward, images: torch.Tensor, outputs: int, tiles: AbuttingTiles, *, together: int
) -> Iterator[tuple[tuple[slice, ...], torch.Tensor]]:
    """Yield the logits [N,outputs,*space] of padded images [N,C,*space] row by row, and where each row is in the image.

    ``forward`` computes ``together`` tiles of each image at a time. A row is overwritten when the next is asked for.
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
