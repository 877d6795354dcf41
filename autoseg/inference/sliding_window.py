"""Class probabilities of a whole image from a network that sees one patch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from autoseg.inference.tiles import fitting_patch, gaussian_weights, mirrorings, padding, tile_starts
from autoseg.networks.label_channels import split_label_map
from autoseg.swapping import Swapping

FORWARD_VOXELS = 4_000_000
"""Voxels of one forward on a GPU, about a batch of two patches of 128³: enough to keep it busy."""


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

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """Return the context in which networks compute."""
        return torch.autocast(device.type, torch.bfloat16) if self.precision == "bfloat16" else nullcontext()


def with_label_map(image: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """Put a previous stage's label map [Z,Y,X] behind the channels of an image [C,Z,Y,X]; None changes nothing."""
    return image if labels is None else np.concatenate([image, labels[None].astype(image.dtype)])


@torch.inference_mode()
def predict_probabilities(
    networks: Sequence[nn.Module], image: np.ndarray, window: Window, device: torch.device
) -> np.ndarray:
    """Average the probabilities of ``networks`` (folds) over an image [C,Z,Y,X]; returns [classes,Z,Y,X] float32.

    Tiles overlap by half and are blended with Gaussian weights, mirrored copies by their mean, both as logits. An image
    only a little larger than the patch is a single tile. Networks say by ``divisor`` what sizes they take.
    """
    array = torch.from_numpy(image).to(device)
    if len(window.patch) == 2:
        array = array.movedim(0, 1)
        shares = [_slices(network, array, window) for network in networks]
    else:
        shares = [_volume(network, array[None], window) for network in networks]
    total = shares[0]
    for share in shares[1:]:
        total += share
    total /= len(shares)
    result = total.movedim(0, 1) if len(window.patch) == 2 else total[0]
    return result.contiguous().cpu().numpy()


def _slices(network: nn.Module, slices: torch.Tensor, window: Window) -> torch.Tensor:
    """Predict slices [Z,C,Y,X] as so many images; returns [Z,classes,Y,X]."""
    most = max(1, _per_forward(window, slices.device) // len(mirrorings(window.mirror_axes)))
    return torch.cat([_volume(network, part, window) for part in slices.split(most)])


def _volume(network: nn.Module, images: torch.Tensor, window: Window) -> torch.Tensor:
    """Predict images [N,C,*space] of one size; returns probabilities [N,classes,*space]."""
    space = tuple(images.shape[2:])
    window = replace(window, patch=fitting_patch(space, window.patch, network.divisor))  # type: ignore[arg-type]
    pad = padding(space, window.patch)
    padded = torch.nn.functional.pad(images, [n for before_after in reversed(pad) for n in before_after])
    starts = tile_starts(tuple(padded.shape[2:]), window.patch)
    logits = _forward(network, padded, window) if len(starts) == 1 else _blend(network, padded, starts, window)
    inside = tuple(slice(before, before + n) for (before, _), n in zip(pad, space, strict=True))
    logits = logits[(slice(None), slice(None), *inside)]
    return torch.sigmoid(logits) if window.activation == "sigmoid" else torch.softmax(logits, dim=1)


def _blend(network: nn.Module, images: torch.Tensor, starts: Sequence[tuple[int, ...]], window: Window) -> torch.Tensor:
    """Add up the weighted logits of all tiles and divide by the weights."""
    weights = gaussian_weights(window.patch).to(images.device)
    total = torch.zeros(images.shape[0], window.outputs, *images.shape[2:], device=images.device)
    norm = torch.zeros(images.shape[2:], device=images.device)
    together = max(1, _per_forward(window, images.device) // len(mirrorings(window.mirror_axes)) // images.shape[0])
    everything = (slice(None), slice(None))
    for first in range(0, len(starts), together):
        places = [_place(start, window.patch) for start in starts[first : first + together]]
        tiles = torch.cat([images[(*everything, *place)] for place in places])
        logits = _forward(network, tiles, window).unflatten(0, (len(places), -1))
        for place, tile in zip(places, logits, strict=True):
            total[(*everything, *place)] += tile * weights
            norm[place] += weights
    return total.div_(norm)


def _place(start: tuple[int, ...], patch: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(s, s + n) for s, n in zip(start, patch, strict=True))


def _forward(network: nn.Module, tiles: torch.Tensor, window: Window) -> torch.Tensor:
    """Return the mean logits [N,classes,*patch] float32 of tiles and their mirrored copies.

    A label map becomes channels here, tile by tile: those of a whole image would take many times its memory.
    """
    tiles = split_label_map(tiles, window.previous_labels)
    flips = [tuple(axis + 2 for axis in axes) for axes in mirrorings(window.mirror_axes)]
    most = max(1, _per_forward(window, tiles.device) // tiles.shape[0])
    total = torch.zeros(tiles.shape[0], window.outputs, *tiles.shape[2:], device=tiles.device)
    for first in range(0, len(flips), most):
        some = flips[first : first + most]
        copies = torch.cat([_mirrored_input(tiles, axes, window) for axes in some])
        with window.autocast(tiles.device):
            logits = network(copies)[0]
        for axes, part in zip(some, logits.float().chunk(len(some)), strict=True):
            total += _mirrored_back(part, axes, window) if axes else part
    return total.div_(len(flips))


def _mirrored_input(tiles: torch.Tensor, axes: tuple[int, ...], window: Window) -> torch.Tensor:
    """Mirror all channels of tiles along some axes, those of a previous stage's labels, which come last, included.

    Across the body, these change places: the mirrored channel of a left organ is the right one's.
    """
    if not axes:
        return tiles
    swapping = _swapping(window, axes)
    if swapping is not None and window.previous_labels:
        images = tiles.shape[1] - window.previous_labels
        tiles = tiles[:, [*range(images), *(images + label - 1 for label in swapping.labels[1:-1])]]
    return tiles.flip(axes)


def _mirrored_back(logits: torch.Tensor, axes: tuple[int, ...], window: Window) -> torch.Tensor:
    """Mirror the logits of mirrored tiles back, and let outputs that have changed places return to them."""
    swapping = _swapping(window, axes)
    return (logits if swapping is None else logits[:, list(swapping.outputs)]).flip(axes)


def _swapping(window: Window, axes: tuple[int, ...]) -> Swapping | None:
    """Return what changes places in tiles [N,C,*patch] that are mirrored along ``axes`` of the tensor."""
    return window.swapping if window.swapping is not None and window.swapping.axis + 2 in axes else None


def _per_forward(window: Window, device: torch.device) -> int:
    """Tiles in one forward: a GPU wants many, a CPU's caches want few."""
    voxels = int(np.prod(window.patch))
    return max(1, (FORWARD_VOXELS if device.type != "cpu" else FORWARD_VOXELS // 32) // voxels)
