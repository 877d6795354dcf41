"""Class probabilities of a whole image from a network that sees one patch at a time."""

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

from autoseg.inference.abutting import abutting, abutting_tiles
from autoseg.inference.blending import blended, share_held, tiling_of
from autoseg.inference.empty_tiles import saving_empty_tiles
from autoseg.inference.tiles import fitting_patch, mirrorings, padding
from autoseg.networks.build import output_size
from autoseg.networks.label_channels import split_label_map
from autoseg.processors import own_cores
from autoseg.swapping import Swapping

FORWARD_VOXELS = 4_000_000
"""Voxels of one forward on a GPU, about a batch of two patches of 128³: enough to keep it busy."""
CPU_FORWARD_VOXELS = 62_500
"""Voxels of one forward on a CPU, whose caches hold no more: twice as many take up to a fifth longer, and single slices
of 56×40 four times as long."""

Place = tuple[slice, ...]
Watch = Callable[[int, Place, torch.Tensor], None]
"""Called with a network's number, a place in [Z,Y,X] and the probabilities [outputs,z,y,x] that it gives there."""


@dataclass(frozen=True)
class Window:
    """How an image is taken apart."""

    patch: tuple[int, ...]
    """Two axes: each slice is an image of its own."""
    outputs: int
    mirror_axes: tuple[int, ...] = ()
    """Axes of the patch along which mirrored copies are predicted as well."""
    precision: str = "float32"
    previous_labels: int = 0
    """Labels of a previous stage; where there are some, the last channel of an image is its label map."""
    activation: Literal["softmax", "sigmoid"] = "softmax"
    swapping: Swapping | None = None
    """What changes places in copies that are mirrored across the body."""
    margin: tuple[int, ...] = ()
    """Voxels on each side of the patch that a network sees but gives no logits of; empty: none."""
    fills: tuple[tuple[int, float], ...] = ()
    """Channels that may be missing, with what they hold then, which goes on beyond the image's border."""

    @property
    def abuts(self) -> bool:
        """Whether tiles lie beside each other and are not blended."""
        return any(self.margin)

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """Return the context in which networks compute."""
        return torch.autocast(device.type, torch.bfloat16) if self.precision == "bfloat16" else nullcontext()


def with_label_map(image: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """Put a previous stage's label map [Z,Y,X] behind the channels of an image [C,Z,Y,X]; None changes nothing."""
    return image if labels is None else np.concatenate([image, labels[None].astype(image.dtype)])


@torch.inference_mode()
def predict_probabilities(
    networks: Sequence[nn.Module],
    image: np.ndarray,
    window: Window,
    device: torch.device,
    *,
    out: np.ndarray | None = None,
    watch: Watch | None = None,
) -> np.ndarray:
    """Average the probabilities of ``networks`` (folds) over an image [C,Z,Y,X]; returns [classes,Z,Y,X] float32.

    Tiles overlap by half and are blended with Gaussian weights, mirrored copies by their mean, both as logits. An image
    only a little larger than the patch is a single tile. Networks say by ``divisor`` what sizes they take. Where they
    have a margin, the image is padded by it, each voxel is predicted once, and tiles are as large as suits prediction.
    Those that declare ``takes_whole`` get images as they are, neither cut into tiles nor mirrored.

    Logits are held for a part of the image at a time, so that memory beside the image and the result, in which
    probabilities of all networks are added up, does not grow along one of its axes. ``out`` takes the result where it
    is given, such as an array that is mapped to a file. ``watch`` sees each network's own probabilities on the way.
    """
    result = np.empty((window.outputs, *image.shape[1:]), dtype=np.float32) if out is None else out
    total, last = torch.from_numpy(result), len(networks) - 1
    array = torch.from_numpy(image).to(device)
    for index, network in enumerate(networks):
        for place, share in _parts(network, array, window):
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


def _parts(network: nn.Module, array: torch.Tensor, window: Window) -> Iterator[tuple[Place, torch.Tensor]]:
    """Yield an image's probabilities part by part, [outputs,z,y,x] and where they are; no part comes twice."""
    if len(window.patch) == 3:
        for place, share in _volume(network, array[None], window):
            yield place, share[0]
        return
    most = _images_per_forward(_tiled(window, array.shape[2:]), array.device)
    for first in range(0, array.shape[1], most):
        slices = array[:, first : first + most].movedim(0, 1)
        for place, share in _volume(network, slices, window):
            yield (slice(first, first + most), *place), share.movedim(0, 1)


def _volume(network: nn.Module, images: torch.Tensor, window: Window) -> Iterator[tuple[Place, torch.Tensor]]:
    """Predict images [N,C,*space] of one size; yields places and the probabilities [N,classes,*space] there."""
    space = tuple(images.shape[2:])
    if takes_whole(network):
        window = replace(window, patch=space, mirror_axes=(), margin=())
    elif window.abuts:
        yield from _abutting_volume(network, images, window)
        return
    else:
        window = replace(window, patch=tile_size(network, space, window.patch))
    pad = padding(space, window.patch)
    if any(map(any, pad)):
        images = _padded(images, pad, window)
    tiling = tiling_of(tuple(images.shape[2:]), window.patch, together=_together(window, images))
    forward = saving_empty_tiles(partial(_forward, network, window=window), images, tiling.patch, tiling.starts)
    alone = len(tiling.starts) == 1
    parts = iter([(0, forward(images))]) if alone else blended(forward, images, window.outputs, tiling)
    for first, logits in parts:
        place, inside = _without_padding(first, logits.shape[tiling.axis + 2], pad, space, tiling.axis)
        if place[tiling.axis].start < place[tiling.axis].stop:
            yield place, _activated(logits[(slice(None), slice(None), *inside)], window)


def tile_size(network: nn.Module, image: tuple[int, ...], patch: tuple[int, ...]) -> tuple[int, ...]:
    """Return the size of the tiles of an image: the patch, or what holds all of an image that is little larger."""
    least = getattr(network, "whole_voxels", 0)
    return fitting_patch(image, patch, network.divisor, least=least)  # type: ignore[arg-type]


def _abutting_volume(network: nn.Module, images: torch.Tensor, window: Window) -> Iterator[tuple[Place, torch.Tensor]]:
    """Do what :func:`_volume` does with a network that has a margin."""
    space = tuple(images.shape[2:])
    tiles = abutting_tiles(space, window.patch, window.margin, divisor=network.divisor)  # type: ignore[arg-type]
    window = replace(window, patch=tiles.patch)
    images = _padded(images, tiles.padding, window)
    forward = saving_empty_tiles(partial(_forward, network, window=window), images, tiles.patch, tiles.starts)
    for place, logits in abutting(forward, images, window.outputs, tiles, together=_together(window, images)):
        yield place, _activated(logits, window)


def _tiled(window: Window, space: Sequence[int]) -> Window:
    """Return the window with the tiles that an image has, where they abut, about."""
    if not window.abuts:
        return window
    return replace(window, patch=abutting_tiles(tuple(space), window.patch, window.margin).patch)


def share_of_padded(shape: tuple[int, int, int], window: Window) -> float:
    """Return how much larger an image [Z,Y,X] is with its padding than without."""
    if not window.abuts:
        return 1.0
    space = shape[3 - len(window.patch) :]
    padded = abutting_tiles(space, window.patch, window.margin).padded
    return float(np.prod(padded) / np.prod(space))


def _padded(images: torch.Tensor, pad: Sequence[tuple[int, int]], window: Window) -> torch.Tensor:
    """Put zeros around images [N,C,*space], but around a channel that is missing what it holds, as in training."""
    padded = torch.nn.functional.pad(images, [n for before_after in reversed(pad) for n in before_after])
    for channel, fill in window.fills:
        # Stored in half precision, it is only about the same.
        if bool(torch.isclose(images[:, channel], images.new_tensor(fill), rtol=1e-3).all()):
            padded[:, channel] = fill
    return padded


def takes_whole(network: nn.Module) -> bool:
    """Tell whether a network computes images of any size as a whole, in blocks of its own, and not mirrored."""
    return bool(getattr(network, "takes_whole", False))


def share_of_logits(shape: tuple[int, int, int], window: Window) -> float:
    """Return how much of the logits of an image [Z,Y,X] is in memory at a time on a CPU, about."""
    axes = len(window.patch)
    window = _tiled(window, shape[3 - axes :])
    together = _images_per_forward(window, torch.device("cpu"))
    if window.abuts:
        tiles = abutting_tiles(shape[3 - axes :], window.patch, window.margin)
        return tiles.share_held * (min(1.0, together / shape[0]) if axes == 2 else 1.0)
    if len(window.patch) == 3:
        return share_held(shape, window.patch, together=together)
    return min(1.0, together / shape[0]) * share_held(shape[1:], window.patch, together=1)


def _without_padding(
    first: int, rows: int, pad: Sequence[tuple[int, int]], space: Sequence[int], axis: int
) -> tuple[Place, Place]:
    """Return where a part of a padded image lies in the image, and which piece of the part that is."""
    place, inside = [], []
    for a, ((before, _), size) in enumerate(zip(pad, space, strict=True)):
        begin, end = (first, first + rows) if a == axis else (0, before + size)
        start, stop = max(begin - before, 0), min(end - before, size)
        place.append(slice(start, stop))
        inside.append(slice(start + before - begin, stop + before - begin))
    return tuple(place), tuple(inside)


def _activated(logits: torch.Tensor, window: Window) -> torch.Tensor:
    """Turn logits [N,outputs,*space] into probabilities where they lie, as both would be the most that is held."""
    if window.activation == "sigmoid":
        return logits.sigmoid_()
    logits.sub_(logits.amax(dim=1, keepdim=True)).exp_()
    return logits.div_(logits.sum(dim=1, keepdim=True))


def _together(window: Window, images: torch.Tensor) -> int:
    """Tiles of each image in one forward."""
    return max(1, _images_per_forward(window, images.device) // images.shape[0])


def _forward(network: nn.Module, tiles: torch.Tensor, *, window: Window) -> torch.Tensor:
    """Return the mean logits [N,classes,*patch] float32, less the margin, of tiles and their mirrored copies.

    A label map becomes channels here, tile by tile: those of a whole image would take many times its memory.
    """
    tiles = split_label_map(tiles, window.previous_labels)
    flips = [tuple(axis + 2 for axis in axes) for axes in mirrorings(window.mirror_axes)]
    most = max(1, tiles_per_forward(window.patch, tiles.device) // tiles.shape[0])
    size = output_size(tiles.shape[2:], window.margin or (0,) * len(window.patch))
    total = torch.zeros(tiles.shape[0], window.outputs, *size, device=tiles.device)
    for first in range(0, len(flips), most):
        some = flips[first : first + most]
        copies = torch.cat([_mirrored_input(tiles, axes, window) for axes in some])
        with own_cores(), window.autocast(tiles.device):
            logits = network(copies)[0]
        for axes, part in zip(some, logits.float().chunk(len(some)), strict=True):
            total += _mirrored_back(part, axes, window) if axes else part
    return total.div_(len(flips))


def _mirrored_input(tiles: torch.Tensor, axes: tuple[int, ...], window: Window) -> torch.Tensor:
    """Mirror all channels of tiles along some axes, those of a previous stage's labels, which come last, included.

    Across the body, these change places: the mirrored channel of a left organ is the right one's. So does the place
    itself, where a channel has it: what has become a right organ lies on the right.
    """
    if not axes:
        return tiles
    swapping = _swapping(window, axes)
    if swapping is not None and window.previous_labels:
        images = tiles.shape[1] - window.previous_labels
        tiles = tiles[:, [*range(images), *(images + label - 1 for label in swapping.labels[1:-1])]]
    mirrored = tiles.flip(axes)
    if swapping is not None and swapping.negated:
        mirrored[:, list(swapping.negated)] *= -1
    return mirrored


def _mirrored_back(logits: torch.Tensor, axes: tuple[int, ...], window: Window) -> torch.Tensor:
    """Mirror the logits of mirrored tiles back, and let outputs that have changed places return to them."""
    swapping = _swapping(window, axes)
    return (logits if swapping is None else logits[:, list(swapping.outputs)]).flip(axes)


def _swapping(window: Window, axes: tuple[int, ...]) -> Swapping | None:
    """Return what changes places in tiles [N,C,*patch] that are mirrored along ``axes`` of the tensor."""
    return window.swapping if window.swapping is not None and window.swapping.axis + 2 in axes else None


def _images_per_forward(window: Window, device: torch.device) -> int:
    """Return how many tiles one forward takes with all their mirrored copies."""
    return max(1, tiles_per_forward(window.patch, device) // len(mirrorings(window.mirror_axes)))


def tiles_per_forward(patch: Sequence[int], device: torch.device) -> int:
    """Return how many tiles of a size one forward takes: a GPU wants many, a CPU's caches want few."""
    voxels = CPU_FORWARD_VOXELS if device.type == "cpu" else FORWARD_VOXELS
    return max(1, voxels // math.prod(patch))
