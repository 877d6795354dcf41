"""Sliding window: class probabilities of a whole image from a network that predicts one patch at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from autoseg.inference.blending import blended, share_held, tiling_of
from autoseg.inference.empty_tiles import saving_empty_tiles
from autoseg.inference.tiles import fitting_patch, mirrorings, padding
from autoseg.inference.valid_tiling import valid_tiled, valid_tiles
from autoseg.networks.build import output_size
from autoseg.postprocessing.scores import Place
from autoseg.preprocessing.mirrored_labels import MirroredLabels
from autoseg.preprocessing.previous_stage import split_label_map
from autoseg.system.processors import own_cores

FORWARD_VOXELS = 4_000_000
"""Voxels of one forward pass on a GPU, about a batch of two patches of 128³; enough to use the GPU fully."""
CPU_FORWARD_VOXELS = 62_500
"""Voxels of one forward pass on a CPU, limited by the size of its caches. Twice as many voxels take up to a fifth
longer; single slices of 56×40 take four times as long."""

Watch = Callable[[int, Place, torch.Tensor], None]
"""Called with the index of a network, a place in [Z,Y,X] and the network's probabilities [outputs,z,y,x] there."""


@dataclass(frozen=True)
class TilingSettings:
    """How an image is divided into tiles and predicted."""

    patch: tuple[int, ...]
    """Patch size; with two axes, each slice is predicted as a separate image."""
    outputs: int
    mirror_axes: tuple[int, ...] = ()
    """Axes of the patch along which mirrored copies are also predicted."""
    precision: str = "float32"
    previous_labels: int = 0
    """Number of labels of the previous stage. If above 0, the last channel of an image is that stage's label map."""
    activation: Literal["softmax", "sigmoid"] = "softmax"
    mirrored_labels: MirroredLabels | None = None
    """Left and right labels that are swapped in copies mirrored across the body."""
    margin: tuple[int, ...] = ()
    """Voxels at each side of the patch that are input of the network but have no logits; empty: none."""
    fill_values: tuple[tuple[int, float], ...] = ()
    """Fill value of each optional channel, by the channel's index; it is also used for padding a missing channel."""

    @property
    def is_valid(self) -> bool:
        """Whether the network has a margin; then tiles abut and are not blended."""
        return any(self.margin)

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """Return the autocast context for forward passes."""
        return torch.autocast(device.type, torch.bfloat16) if self.precision == "bfloat16" else nullcontext()


def with_label_map(image: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """Append a previous stage's label map [Z,Y,X] to the channels of an image [C,Z,Y,X]; None appends nothing."""
    return image if labels is None else np.concatenate([image, labels[None].astype(image.dtype)])


@torch.inference_mode()
def predict_probabilities(
    networks: Sequence[nn.Module],
    image: np.ndarray,
    settings: TilingSettings,
    device: torch.device,
    *,
    out: np.ndarray | None = None,
    watch: Watch | None = None,
) -> np.ndarray:
    """Average the probabilities of ``networks`` (folds) over an image [C,Z,Y,X]; returns [classes,Z,Y,X] float32.

    Tiles overlap by half. Logits of tiles are blended with Gaussian weights; logits of mirrored copies are averaged. An
    image only a little larger than the patch is a single tile. Tile sizes are multiples of the network's ``divisor``.
    If a network has a margin, the image is padded by the margin, tiles abut so that each voxel is predicted once, and
    tiles can be larger than the patch. A network that declares ``takes_whole`` predicts the image without tiles and
    without mirroring.

    Memory contains the image, the result and the logits of a part of the image. The size of this part does not grow
    along one of the axes. ``out``: array for the result, for example mapped to a file. ``watch`` is called with the
    probabilities of each single network.
    """
    result = np.empty((settings.outputs, *image.shape[1:]), dtype=np.float32) if out is None else out
    total, last = torch.from_numpy(result), len(networks) - 1
    array = torch.from_numpy(image).to(device)
    for index, network in enumerate(networks):
        for place, share in _parts(network, array, settings):
            found = share.cpu()
            if watch:
                watch(index, place, found)
            part = total[(slice(None), *place)]
            if index:
                part += found
            else:
                part.copy_(found)
            if index == last and last:
                part /= len(networks)
    return result


def _parts(network: nn.Module, array: torch.Tensor, settings: TilingSettings) -> Iterator[tuple[Place, torch.Tensor]]:
    """Yield an image's probabilities as (place, part [outputs,z,y,x]); the parts do not overlap."""
    if len(settings.patch) == 3:
        for place, share in _volume(network, array[None], settings):
            yield place, share[0]
        return
    most = _images_per_forward(_tiled(settings, array.shape[2:]), array.device)
    for first in range(0, array.shape[1], most):
        slices = array[:, first : first + most].movedim(0, 1)
        for place, share in _volume(network, slices, settings):
            yield (slice(first, first + most), *place), share.movedim(0, 1)


def _volume(network: nn.Module, images: torch.Tensor, settings: TilingSettings) -> Iterator[tuple[Place, torch.Tensor]]:
    """Predict images [N,C,*space] of one size; yield (place, probabilities [N,classes,*space])."""
    space = tuple(images.shape[2:])
    if takes_whole(network):
        settings = replace(settings, patch=space, mirror_axes=(), margin=())
    elif settings.is_valid:
        yield from _valid_volume(network, images, settings)
        return
    else:
        settings = replace(settings, patch=tile_size(network, space, settings.patch))
    pad = padding(space, settings.patch)
    if any(map(any, pad)):
        images = _padded(images, pad, settings)
    tiling = tiling_of(tuple(images.shape[2:]), settings.patch, together=_together(settings, images))
    forward = saving_empty_tiles(partial(_forward, network, settings=settings), images, tiling.patch, tiling.starts)
    alone = len(tiling.starts) == 1
    parts = iter([(0, forward(images))]) if alone else blended(forward, images, settings.outputs, tiling)
    for first, logits in parts:
        place, inside = _without_padding(first, logits.shape[tiling.axis + 2], pad, space, tiling.axis)
        if place[tiling.axis].start < place[tiling.axis].stop:
            yield place, _activated(logits[(slice(None), slice(None), *inside)], settings)


def tile_size(network: nn.Module, image: tuple[int, ...], patch: tuple[int, ...]) -> tuple[int, ...]:
    """Return the tile size for an image: the patch, or a size that covers the whole of a slightly larger image."""
    least = getattr(network, "whole_voxels", 0)
    return fitting_patch(image, patch, network.divisor, least=least)  # type: ignore[arg-type]


def _valid_volume(
    network: nn.Module, images: torch.Tensor, settings: TilingSettings
) -> Iterator[tuple[Place, torch.Tensor]]:
    """Predict images like :func:`_volume`, for a network with a margin."""
    space = tuple(images.shape[2:])
    tiles = valid_tiles(space, settings.patch, settings.margin, divisor=network.divisor)  # type: ignore[arg-type]
    settings = replace(settings, patch=tiles.patch)
    images = _padded(images, tiles.padding, settings)
    forward = saving_empty_tiles(partial(_forward, network, settings=settings), images, tiles.patch, tiles.starts)
    for place, logits in valid_tiled(forward, images, settings.outputs, tiles, together=_together(settings, images)):
        yield place, _activated(logits, settings)


def _tiled(settings: TilingSettings, space: Sequence[int]) -> TilingSettings:
    """Return the settings with the approximate tile size of an image if tiles abut, otherwise unchanged settings."""
    if not settings.is_valid:
        return settings
    return replace(settings, patch=valid_tiles(tuple(space), settings.patch, settings.margin).patch)


def share_of_padded(shape: tuple[int, int, int], settings: TilingSettings) -> float:
    """Return the ratio of the size of a padded image to that of the image [Z,Y,X]."""
    if not settings.is_valid:
        return 1.0
    space = shape[3 - len(settings.patch) :]
    padded = valid_tiles(space, settings.patch, settings.margin).padded
    return float(np.prod(padded) / np.prod(space))


def _padded(images: torch.Tensor, pad: Sequence[tuple[int, int]], settings: TilingSettings) -> torch.Tensor:
    """Pad images [N,C,*space] with zeros; pad a missing channel with its fill value, as in training."""
    padded = torch.nn.functional.pad(images, [n for before_after in reversed(pad) for n in before_after])
    for channel, fill in settings.fill_values:
        # Images are stored in half precision, so the values differ slightly from the fill value.
        if bool(torch.isclose(images[:, channel], images.new_tensor(fill), rtol=1e-3).all()):
            padded[:, channel] = fill
    return padded


def takes_whole(network: nn.Module) -> bool:
    """Return whether a network predicts whole images of any size, with its own blocks and without mirroring."""
    return bool(getattr(network, "takes_whole", False))


def share_of_logits(shape: tuple[int, int, int], settings: TilingSettings) -> float:
    """Return the approximate share of the logits of an image [Z,Y,X] that is in memory at a time on a CPU."""
    axes = len(settings.patch)
    settings = _tiled(settings, shape[3 - axes :])
    together = _images_per_forward(settings, torch.device("cpu"))
    if settings.is_valid:
        tiles = valid_tiles(shape[3 - axes :], settings.patch, settings.margin)
        return tiles.share_held * (min(1.0, together / shape[0]) if axes == 2 else 1.0)
    if len(settings.patch) == 3:
        return share_held(shape, settings.patch, together=together)
    return min(1.0, together / shape[0]) * share_held(shape[1:], settings.patch, together=1)


def _without_padding(
    first: int, rows: int, pad: Sequence[tuple[int, int]], space: Sequence[int], axis: int
) -> tuple[Place, Place]:
    """Return the place of a part in the unpadded image, and the place within the part without padding."""
    place, inside = [], []
    for a, ((before, _), size) in enumerate(zip(pad, space, strict=True)):
        begin, end = (first, first + rows) if a == axis else (0, before + size)
        start, stop = max(begin - before, 0), min(end - before, size)
        place.append(slice(start, stop))
        inside.append(slice(start + before - begin, stop + before - begin))
    return tuple(place), tuple(inside)


def _activated(logits: torch.Tensor, settings: TilingSettings) -> torch.Tensor:
    """Convert logits [N,outputs,*space] to probabilities in place, because a second array would double peak memory."""
    if settings.activation == "sigmoid":
        return logits.sigmoid_()
    logits.sub_(logits.amax(dim=1, keepdim=True)).exp_()
    return logits.div_(logits.sum(dim=1, keepdim=True))


def _together(settings: TilingSettings, images: torch.Tensor) -> int:
    """Return the number of tiles of each image in one forward pass."""
    return max(1, _images_per_forward(settings, images.device) // images.shape[0])


def _forward(network: nn.Module, tiles: torch.Tensor, *, settings: TilingSettings) -> torch.Tensor:
    """Return the mean logits [N,classes,*patch] float32, without the margin, of tiles and their mirrored copies.

    A label map is converted to one channel for each label here, for each tile. For a whole image, these channels would
    need many times its memory.
    """
    tiles = split_label_map(tiles, settings.previous_labels)
    flips = [tuple(axis + 2 for axis in axes) for axes in mirrorings(settings.mirror_axes)]
    most = max(1, tiles_per_forward(settings.patch, tiles.device) // tiles.shape[0])
    size = output_size(tiles.shape[2:], settings.margin or (0,) * len(settings.patch))
    total = torch.zeros(tiles.shape[0], settings.outputs, *size, device=tiles.device)
    for first in range(0, len(flips), most):
        some = flips[first : first + most]
        copies = torch.cat([_mirrored_input(tiles, axes, settings) for axes in some])
        with own_cores(), settings.autocast(tiles.device):
            logits = network(copies)[0]
        for axes, part in zip(some, logits.float().chunk(len(some)), strict=True):
            total += _mirrored_back(part, axes, settings) if axes else part
    return total.div_(len(flips))


def _mirrored_input(tiles: torch.Tensor, axes: tuple[int, ...], settings: TilingSettings) -> torch.Tensor:
    """Mirror all channels of tiles along ``axes``, including the last channels with the labels of a previous stage.

    A mirror across the body swaps the channels of left and right labels. It also changes the sign of coordinate
    channels (``negated``), so that a mirrored left organ has the coordinates of the right side.
    """
    if not axes:
        return tiles
    mirrored_labels = _mirrored_labels(settings, axes)
    if mirrored_labels is not None and settings.previous_labels:
        images = tiles.shape[1] - settings.previous_labels
        tiles = tiles[:, [*range(images), *(images + label - 1 for label in mirrored_labels.labels[1:-1])]]
    mirrored = tiles.flip(axes)
    if mirrored_labels is not None and mirrored_labels.negated:
        mirrored[:, list(mirrored_labels.negated)] *= -1
    return mirrored


def _mirrored_back(logits: torch.Tensor, axes: tuple[int, ...], settings: TilingSettings) -> torch.Tensor:
    """Mirror the logits of mirrored tiles back, and swap the outputs of left and right labels back."""
    mirrored_labels = _mirrored_labels(settings, axes)
    return (logits if mirrored_labels is None else logits[:, list(mirrored_labels.outputs)]).flip(axes)


def _mirrored_labels(settings: TilingSettings, axes: tuple[int, ...]) -> MirroredLabels | None:
    """Return the labels to swap in tiles [N,C,*patch] mirrored along ``axes`` of the tensor; None if there are none."""
    return (
        settings.mirrored_labels
        if settings.mirrored_labels is not None and settings.mirrored_labels.axis + 2 in axes
        else None
    )


def _images_per_forward(settings: TilingSettings, device: torch.device) -> int:
    """Return how many tiles fit into one forward pass together with all their mirrored copies."""
    return max(1, tiles_per_forward(settings.patch, device) // len(mirrorings(settings.mirror_axes)))


def tiles_per_forward(patch: Sequence[int], device: torch.device) -> int:
    """Return how many tiles of a size fit into one forward pass: many on a GPU, few on a CPU because of its caches."""
    voxels = CPU_FORWARD_VOXELS if device.type == "cpu" else FORWARD_VOXELS
    return max(1, voxels // math.prod(patch))
