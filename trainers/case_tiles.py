"""How many tiles the prediction of whole cases takes, known before anything is predicted."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from autoseg.inference.abutting import abutting_tiles
from autoseg.inference.sliding_window import Window, takes_whole, tile_size
from autoseg.inference.tiles import mirrorings, padding, tile_starts
from autoseg.trainers.loader import Cases

Tiles = tuple[int, tuple[int, ...]]
"""How many tiles a case takes, without mirrored copies, and the size of each."""


def case_tiles(cases: Cases, window: Window, network: nn.Module) -> list[Tiles]:
    """Count the tiles of each case, without mirrored copies, and tell their size.

    Tiles that abut fit each case; others are patches, grown where that saves several.
    """
    found = []
    for index in range(len(cases)):
        shape = cases[index].shape
        slices = shape[0] if len(window.patch) == 2 else 1
        count, size = _tiles(shape[3 - len(window.patch) :], window, network)
        found.append((count * slices, size))
    return found


def _tiles(space: tuple[int, ...], window: Window, network: nn.Module) -> Tiles:
    if takes_whole(network):
        return 1, space
    if window.abuts:
        tiles = abutting_tiles(space, window.patch, window.margin, divisor=network.divisor)  # type: ignore[arg-type]
        return len(tiles.starts), tiles.patch
    patch = tile_size(network, space, window.patch)
    padded = tuple(n + sum(pad) for n, pad in zip(space, padding(space, patch), strict=True))
    return len(tile_starts(padded, patch)), patch


def copies_of(window: Window, network: nn.Module) -> int:
    """Count the predictions of each tile: itself and its mirrored copies."""
    return 1 if takes_whole(network) else len(mirrorings(window.mirror_axes))


def tile_voxels(tiles: Tiles) -> int:
    """Count the voxels of all tiles of a case, those that overlap as often as they are predicted."""
    count, size = tiles
    return count * math.prod(size)


def median_tiles(tiles: Sequence[Tiles]) -> Tiles | None:
    """Return those in the middle by the size of one; None without a case."""
    by_size = sorted(tiles, key=lambda case: math.prod(case[1]))
    return by_size[len(by_size) // 2] if by_size else None
