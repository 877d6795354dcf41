"""Blend overlapping tiles row by row. Memory contains only those rows of logits that still change."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from autoseg.inference.empty_tiles import Forward
from autoseg.inference.tiles import Shape, gaussian_weights, tile_starts

SHARE_FOR_LOGITS = 0.5
"""Maximum share of a GPU's free memory for logits; network activations need the rest."""


@dataclass(frozen=True)
class Tiling:
    """The tiles that cover an image, and the order in which they are blended."""

    patch: Shape
    starts: tuple[Shape, ...]
    """First voxel of each tile, sorted along ``axis``."""
    axis: int
    """Axis along which finished rows are released. Memory does not grow with the image along this axis."""
    together: int
    """Number of tiles in one forward pass."""

    @property
    def batches(self) -> Iterator[tuple[Shape, ...]]:
        """First voxels of the tiles of each forward pass."""
        return (self.starts[first : first + self.together] for first in range(0, len(self.starts), self.together))

    @property
    def rows_held(self) -> int:
        """Maximum number of rows along ``axis`` that the tiles of one forward pass cover."""
        return max(batch[-1][self.axis] - batch[0][self.axis] for batch in self.batches) + self.patch[self.axis]


def tiling_of(image: Shape, patch: Shape, *, together: int, axis: int | None = None) -> Tiling:
    """Cover an image with tiles; the image must be at least as large as the patch.

    The default ``axis`` is the axis with the largest ratio of image size to patch size.
    """
    if axis is None:
        axis = max(range(len(patch)), key=lambda a: image[a] / patch[a])
    starts = sorted(tile_starts(image, patch), key=lambda start: start[axis])
    return Tiling(patch, tuple(starts), axis, together)


def home_of(device: torch.device, held: int) -> torch.device:
    """Return the device that stores ``held`` bytes of logits: ``device`` if its free memory suffices, else the CPU."""
    if device.type != "cuda":
        return device
    # Memory that torch has reserved but not allocated is available too.
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = torch.cuda.mem_get_info(device)[0] + kept
    return device if held <= free * SHARE_FOR_LOGITS else torch.device("cpu")


def blended(
    forward: Forward, images: torch.Tensor, outputs: int, tiling: Tiling, *, home: torch.device | None = None
) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield the logits of images [N,C,*space] in parts along the tiling's axis, as (first row, part).

    Tile logits are summed with Gaussian weights and divided by the sum of the weights. A part [N,outputs,*space]
    contains the rows that no later tile changes. The next iteration overwrites it. The logits lie on the device
    ``home``; the default is :func:`home_of`.
    """
    axis, first = tiling.axis, 0
    size = list(images.shape[2:])
    size[axis] = tiling.rows_held
    whole = (images.shape[0], outputs, *size)
    home = home or home_of(images.device, math.prod(whole) * torch.float32.itemsize)
    held = _Held(torch.zeros(whole, device=home), torch.zeros(size, device=home), axis)
    weights = gaussian_weights(tiling.patch).to(home)
    for batch in tiling.batches:
        done = batch[0][axis] - first
        if done:
            yield first, held.quotient(done)
            held.advance(done)
            first += done
        tiles = torch.cat([images[(slice(None), slice(None), *_place(start, tiling.patch))] for start in batch])
        for start, logits in zip(batch, forward(tiles).to(home).unflatten(0, (len(batch), -1)), strict=True):
            shifted = tuple(s - first if a == axis else s for a, s in enumerate(start))
            held.add(logits, weights, _place(shifted, tiling.patch))
    yield first, held.quotient(images.shape[axis + 2] - first)


@dataclass(frozen=True)
class _Held:
    """Sum of weighted logits [N,outputs,*space] and sum of weights [*space] for a range of rows along an axis."""

    total: torch.Tensor
    norm: torch.Tensor
    axis: int

    def add(self, logits: torch.Tensor, weights: torch.Tensor, place: tuple[slice, ...]) -> None:
        """Add a tile [N,outputs,*patch]."""
        self.total[(slice(None), slice(None), *place)] += logits * weights
        self.norm[place] += weights

    def quotient(self, rows: int) -> torch.Tensor:
        """Divide the first ``rows`` rows by their weights in place, and return them."""
        return self.total.narrow(self.axis + 2, 0, rows).div_(self.norm.narrow(self.axis, 0, rows))

    def advance(self, rows: int) -> None:
        """Drop the first ``rows`` rows, move the remaining rows to the start and fill the end with zeros."""
        _advance(self.total, self.axis + 2, rows)
        _advance(self.norm, self.axis, rows)


def _advance(tensor: torch.Tensor, axis: int, rows: int) -> None:
    size = tensor.shape[axis]
    for start in range(0, size - rows, rows):
        # Copy at most ``rows`` rows at a time, so that source and target never overlap.
        count = min(rows, size - rows - start)
        tensor.narrow(axis, start, count).copy_(tensor.narrow(axis, start + rows, count))
    tensor.narrow(axis, size - rows, rows).zero_()


def _place(start: Shape, patch: Shape) -> tuple[slice, ...]:
    return tuple(slice(s, s + n) for s, n in zip(start, patch, strict=True))


def share_held(image: Shape, patch: Shape, *, together: int) -> float:
    """Return the share of an image's logits that is in memory at a time.

    The value 1 means the logits of the whole image. It is above 1 where the patch is larger than the image.
    """
    padded = tuple(max(n, p) for n, p in zip(image, patch, strict=True))
    tiling = tiling_of(padded, patch, together=together)
    rows = tuple(tiling.rows_held if a == tiling.axis else n for a, n in enumerate(padded))
    return math.prod(rows) / math.prod(image)
