"""Overlapping tiles blended row by row: of an image's logits only the rows that tiles still add to are held."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from autoseg.inference.empty_tiles import Forward
from autoseg.inference.tiles import Shape, gaussian_weights, tile_starts

SHARE_FOR_LOGITS = 0.5
"""Share of a GPU's free memory that logits may take: the activations of a network need the rest."""


@dataclass(frozen=True)
class Tiling:
    """Which tiles cover an image, and in which order they are blended."""

    patch: Shape
    starts: tuple[Shape, ...]
    """Ordered along ``axis``."""
    axis: int
    """What is held grows with the image along every axis but this."""
    together: int
    """Tiles in one forward."""

    @property
    def batches(self) -> Iterator[tuple[Shape, ...]]:
        """The tiles of each forward."""
        return (self.starts[first : first + self.together] for first in range(0, len(self.starts), self.together))

    @property
    def rows_held(self) -> int:
        """Rows along ``axis`` that the tiles of one forward cover, at most."""
        return max(batch[-1][self.axis] - batch[0][self.axis] for batch in self.batches) + self.patch[self.axis]


def tiling_of(image: Shape, patch: Shape, *, together: int, axis: int | None = None) -> Tiling:
    """Cover an image at least as large as the patch; ``axis`` is by default that along which it is the most patches."""
    if axis is None:
        axis = max(range(len(patch)), key=lambda a: image[a] / patch[a])
    starts = sorted(tile_starts(image, patch), key=lambda start: start[axis])
    return Tiling(patch, tuple(starts), axis, together)


def home_of(device: torch.device, held: int) -> torch.device:
    """Return where so many bytes of logits are held: on the device that computes, or on the CPU if it has no room."""
    if device.type != "cuda":
        return device
    # What torch keeps for later is as good as free.
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = torch.cuda.mem_get_info(device)[0] + kept
    return device if held <= free * SHARE_FOR_LOGITS else torch.device("cpu")


def blended(
    forward: Forward, images: torch.Tensor, outputs: int, tiling: Tiling, *, home: torch.device | None = None
) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield the logits of images [N,C,*space] part by part along the tiling's axis, the first row of each before it.

    Tiles are added up with Gaussian weights and divided by their sum. A part [N,outputs,*space] holds the rows that no
    later tile touches; it is overwritten when the next is asked for. Logits are held on the device ``home``, by default
    where there is room.
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
    """Sums of weighted logits [N,outputs,*space] and of weights [*space] for some rows along an axis."""

    total: torch.Tensor
    norm: torch.Tensor
    axis: int

    def add(self, logits: torch.Tensor, weights: torch.Tensor, place: tuple[slice, ...]) -> None:
        """Add a tile [N,outputs,*patch]."""
        self.total[(slice(None), slice(None), *place)] += logits * weights
        self.norm[place] += weights

    def quotient(self, rows: int) -> torch.Tensor:
        """Divide the first rows by their weights, in place."""
        return self.total.narrow(self.axis + 2, 0, rows).div_(self.norm.narrow(self.axis, 0, rows))

    def advance(self, rows: int) -> None:
        """Drop the first rows, move the others up to their place and begin new ones."""
        _advance(self.total, self.axis + 2, rows)
        _advance(self.norm, self.axis, rows)


def _advance(tensor: torch.Tensor, axis: int, rows: int) -> None:
    size = tensor.shape[axis]
    for start in range(0, size - rows, rows):
        # As many rows as are dropped at a time, so that source and target never overlap.
        count = min(rows, size - rows - start)
        tensor.narrow(axis, start, count).copy_(tensor.narrow(axis, start + rows, count))
    tensor.narrow(axis, size - rows, rows).zero_()


def _place(start: Shape, patch: Shape) -> tuple[slice, ...]:
    return tuple(slice(s, s + n) for s, n in zip(start, patch, strict=True))


def share_held(image: Shape, patch: Shape, *, together: int) -> float:
    """Return how much of an image's logits is held at a time: 1 is all of it, more where the patch is the larger."""
    padded = tuple(max(n, p) for n, p in zip(image, patch, strict=True))
    tiling = tiling_of(padded, patch, together=together)
    rows = tuple(tiling.rows_held if a == tiling.axis else n for a, n in enumerate(padded))
    return math.prod(rows) / math.prod(image)
