"""Context features of voxels: differences between the means of nearby boxes, computed from integral images."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

REACH = 20.0
"""Maximum displacement and maximum length of a box along each axis, in millimetres (Kamnitsas 2019)."""


@dataclass(frozen=True)
class Boxes:
    """F features; each is the mean of a first box minus ``second`` times the mean of a second box.

    ``channels`` [F,2] int64: the channel of each box. ``low`` and ``high`` [F,2,axes] int64: start (included) and end
    (excluded) of each box, in voxels relative to the described voxel. ``second`` [F] float32: weight of the second box,
    0 or 1.
    """

    channels: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor
    second: torch.Tensor

    def __len__(self) -> int:
        return len(self.second)


def empty_boxes(count: int, axes: int) -> Boxes:
    """Return features of one-voxel boxes, whose value is 0, as arrays of the right size and type."""
    ends = torch.zeros(count, 2, axes, dtype=torch.int64)
    return Boxes(torch.zeros(count, 2, dtype=torch.int64), ends, ends + 1, torch.ones(count))


def draw_boxes(count: int, *, channels: int, spacing: Sequence[float], rng: np.random.Generator) -> Boxes:
    """Draw random features: first the intensity of each channel, then context features (Geremia et al. 2011).

    Three kinds of context features have equal probability: the mean of a displaced box; the intensity of the voxel
    minus such a mean; the difference of two such means. The channel of each box is drawn separately. ``spacing`` is in
    millimetres along the axes of the image.
    """
    reach = np.array([REACH / s for s in spacing])
    size = 1 + np.floor(rng.random((count, 2, len(spacing))) * np.maximum(reach, 1)).astype(np.int64)
    centre = np.rint((2 * rng.random(size.shape) - 1) * reach).astype(np.int64)
    picked = rng.integers(channels, size=(count, 2))
    kind = rng.integers(3, size=count)
    own = np.arange(count) < channels
    picked[own, 0] = np.arange(min(channels, count))
    # The intensity of the voxel itself is a one-voxel box without displacement.
    itself = own | (kind == 1)
    size[itself, 0], centre[itself, 0] = 1, 0
    low = centre - size // 2
    second = np.where(own | (kind == 0), 0, 1).astype(np.float32)
    return Boxes(*map(torch.from_numpy, (picked, low, low + size, second)))


def integral_image(image: torch.Tensor) -> torch.Tensor:
    """Return the cumulative sums of an image [C,*space] along all axes, [C,*(space + 1)] float64."""
    total = image.double()
    for axis in range(1, image.ndim):
        total = total.cumsum(axis)
    return F.pad(total, (1, 0) * (image.ndim - 1))


def box_features(boxes: Boxes, integral: torch.Tensor, voxels: torch.Tensor) -> torch.Tensor:
    """Return the features [F,N] float32 of ``voxels`` (flat indices [N]) of an image with the given ``integral``.

    A box that extends beyond the image is cropped to it. A box outside the image becomes a row of voxels at the border.
    """
    places = torch.unravel_index(voxels, [n - 1 for n in integral.shape[1:]])
    result = torch.empty(len(boxes), len(voxels), dtype=torch.float32, device=voxels.device)
    _fill(result, boxes, lambda channel, low, high: _mean_at(integral[channel], places, low, high))
    return result


def block_features(boxes: Boxes, integral: torch.Tensor, block: Sequence[slice]) -> torch.Tensor:
    """Return the features [F,*block] float32 of all voxels of a ``block``, like :func:`box_features`.

    This is several times as fast, because sums that boxes share along an axis are computed once.
    """
    places = [torch.arange(part.start, part.stop, device=integral.device) for part in block]
    result = torch.empty(len(boxes), *map(len, places), dtype=torch.float32, device=integral.device)
    _fill(result, boxes, lambda channel, low, high: _mean_in(integral[channel], places, low, high))
    return result


Mean = Callable[[int, Sequence[int], Sequence[int]], torch.Tensor]
"""A function of a channel, and of start and end of a box relative to voxels; returns the mean for each voxel."""


def _fill(result: torch.Tensor, boxes: Boxes, mean: Mean) -> None:
    """Compute each feature and write it to its row of ``result``."""
    features = zip(boxes.channels.tolist(), boxes.low.tolist(), boxes.high.tolist(), boxes.second.tolist(), strict=True)
    for row, ((one, other), low, high, second) in zip(result, features, strict=True):
        value = mean(one, low[0], high[0])
        if second:
            value = value - second * mean(other, low[1], high[1])
        row.copy_(value)


def _mean_at(
    integral: torch.Tensor, places: Sequence[torch.Tensor], low: Sequence[int], high: Sequence[int]
) -> torch.Tensor:
    """Return the mean of a box around each of N voxels, [N] float64, from the integral image of one channel."""
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
    """Return the mean of a box around each voxel of a block, [*block] float64; ``places`` are indices on each axis."""
    total, voxels = integral, torch.ones((), dtype=torch.int64, device=integral.device)
    for axis, (place, a, b, n) in enumerate(zip(places, low, high, integral.shape, strict=True)):
        begin, end = _cut(place, a, b, n - 1)
        total = total.index_select(axis, end).sub_(total.index_select(axis, begin))
        voxels = voxels[..., None] * (end - begin)
    return total.div_(voxels)


def _cut(place: torch.Tensor, low: int, high: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return start and end of boxes along an axis, cropped to the image; each keeps at least one voxel."""
    return (place + low).clamp_(0, size - 1), (place + high).clamp_(1, size)
