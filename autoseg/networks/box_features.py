"""Context of voxels: differences between the means of boxes around them, from integral images."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

REACH = 20.0
"""Millimetres that boxes are displaced at most, along each axis, and that they are long at most (Kamnitsas 2019)."""


@dataclass(frozen=True)
class Boxes:
    """Features that are each the mean of a first box less, mostly, that of a second.

    Of one feature each: ``channels`` [F,2] int64, the channel of either box; ``low`` and ``high`` [F,2,axes] int64,
    where either begins and ends, in voxels from the voxel that is described, the last one excluded; ``second`` [F]
    float32, how much the second box counts: 0 or 1.
    """

    channels: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor
    second: torch.Tensor

    def __len__(self) -> int:
        return len(self.second)


def empty_boxes(count: int, axes: int) -> Boxes:
    """Return arrays of the right sizes and types: features that are 0, of boxes of one voxel."""
    ends = torch.zeros(count, 2, axes, dtype=torch.int64)
    return Boxes(torch.zeros(count, 2, dtype=torch.int64), ends, ends + 1, torch.ones(count))


def draw_boxes(count: int, *, channels: int, spacing: Sequence[float], rng: np.random.Generator) -> Boxes:
    """Draw features: first each channel's own intensity, then kinds of context in equal parts (Geremia et al. 2011).

    These are the mean of a displaced box, a voxel's own intensity less such a mean, and the difference of two such
    means; either box has a channel of its own. ``spacing`` in millimetres along the axes of the image.
    """
    reach = np.array([REACH / s for s in spacing])
    size = 1 + np.floor(rng.random((count, 2, len(spacing))) * np.maximum(reach, 1)).astype(np.int64)
    centre = np.rint((2 * rng.random(size.shape) - 1) * reach).astype(np.int64)
    picked = rng.integers(channels, size=(count, 2))
    kind = rng.integers(3, size=count)
    own = np.arange(count) < channels
    picked[own, 0] = np.arange(min(channels, count))
    # A voxel itself is a box of one voxel that is not displaced.
    itself = own | (kind == 1)
    size[itself, 0], centre[itself, 0] = 1, 0
    low = centre - size // 2
    second = np.where(own | (kind == 0), 0, 1).astype(np.float32)
    return Boxes(*map(torch.from_numpy, (picked, low, low + size, second)))


def integral_image(image: torch.Tensor) -> torch.Tensor:
    """Sum an image [C,*space] from its first voxel on along each axis; returns [C,*(space + 1)] float64."""
    total = image.double()
    for axis in range(1, image.ndim):
        total = total.cumsum(axis)
    return F.pad(total, (1, 0) * (image.ndim - 1))


def box_features(boxes: Boxes, integral: torch.Tensor, voxels: torch.Tensor) -> torch.Tensor:
    """Describe some ``voxels``, flat indices [N], of an image whose ``integral`` is given; returns [F,N] float32.

    A box that reaches beyond the image is cut to it. One that lies outside becomes the row of voxels at the border.
    """
    places = torch.unravel_index(voxels, [n - 1 for n in integral.shape[1:]])
    result = torch.empty(len(boxes), len(voxels), dtype=torch.float32, device=voxels.device)
    _fill(result, boxes, lambda channel, low, high: _mean_at(integral[channel], places, low, high))
    return result


def block_features(boxes: Boxes, integral: torch.Tensor, block: Sequence[slice]) -> torch.Tensor:
    """Describe all voxels of a ``block`` of an image, as :func:`box_features` does; returns [F,*block] float32.

    This is several times as fast: what boxes have in common along an axis is computed once.
    """
    places = [torch.arange(part.start, part.stop, device=integral.device) for part in block]
    result = torch.empty(len(boxes), *map(len, places), dtype=torch.float32, device=integral.device)
    _fill(result, boxes, lambda channel, low, high: _mean_in(integral[channel], places, low, high))
    return result


Mean = Callable[[int, Sequence[int], Sequence[int]], torch.Tensor]
"""Returns the means of a channel in a box that begins and ends somewhere around voxels."""


def _fill(result: torch.Tensor, boxes: Boxes, mean: Mean) -> None:
    """Compute every feature, a row of the result."""
    features = zip(boxes.channels.tolist(), boxes.low.tolist(), boxes.high.tolist(), boxes.second.tolist(), strict=True)
    for row, ((one, other), low, high, second) in zip(result, features, strict=True):
        value = mean(one, low[0], high[0])
        if second:
            value = value - second * mean(other, low[1], high[1])
        row.copy_(value)


def _mean_at(
    integral: torch.Tensor, places: Sequence[torch.Tensor], low: Sequence[int], high: Sequence[int]
) -> torch.Tensor:
    """Return the mean of a box around each of some places, [N] float64, of one channel's integral image."""
    flat, ends, voxels = integral.flatten(), [], torch.ones((), dtype=torch.int64, device=integral.device)
    for place, a, b, n, stride in zip(places, low, high, integral.shape, integral.stride(), strict=True):
        begin, end = _cut(place, a, b, n - 1)
        voxels = voxels * (end - begin)
        ends.append(((end.mul_(stride), 1), (begin.mul_(stride), -1)))
    total = torch.zeros_like(places[0], dtype=torch.float64)
    for corner in itertools.product(*ends):
        index, sign = corner[0]
        for along, factor in corner[1:]:
            index, sign = index + along, sign * factor
        total.add_(flat[index], alpha=sign)
    return total / voxels


def _mean_in(
    integral: torch.Tensor, places: Sequence[torch.Tensor], low: Sequence[int], high: Sequence[int]
) -> torch.Tensor:
    """Return the mean of a box around each voxel of a block, [*block] float64; ``places`` along each axis."""
    total, voxels = integral, torch.ones((), dtype=torch.int64, device=integral.device)
    for axis, (place, a, b, n) in enumerate(zip(places, low, high, integral.shape, strict=True)):
        begin, end = _cut(place, a, b, n - 1)
        total = total.index_select(axis, end).sub_(total.index_select(axis, begin))
        voxels = voxels[..., None] * (end - begin)
    return total.div_(voxels)


def _cut(place: torch.Tensor, low: int, high: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return where boxes around some places begin and end along an axis, at least one voxel of the image apart."""
    return (place + low).clamp_(0, size - 1), (place + high).clamp_(1, size)
