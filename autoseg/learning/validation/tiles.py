"""Number and size of the tiles for the prediction of whole cases, computed before prediction."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from autoseg.inference.sliding_window import TilingSettings, takes_whole, tile_size
from autoseg.inference.tiles import mirrorings, padding, tile_starts
from autoseg.inference.valid_tiling import valid_tiles
from autoseg.learning.cases import Cases

Tiles = tuple[int, tuple[int, ...]]
"""Number of tiles of a case, without mirrored copies, and the size of each tile."""


def case_tiles(cases: Cases, settings: TilingSettings, network: nn.Module) -> list[Tiles]:
    """Return number and size of the tiles of each case, without mirrored copies.

    Tiles of networks with a margin do not overlap, and their size is fitted to each case. Other tiles have the size of
    the patch, or are larger where that saves several tiles.
    """
    found = []
    for index in range(len(cases)):
        shape = cases[index].shape
        slices = shape[0] if len(settings.patch) == 2 else 1
        count, size = _tiles(shape[3 - len(settings.patch) :], settings, network)
        found.append((count * slices, size))
    return found


def _tiles(space: tuple[int, ...], settings: TilingSettings, network: nn.Module) -> Tiles:
    if takes_whole(network):
        return 1, space
    if settings.is_valid:
        tiles = valid_tiles(space, settings.patch, settings.margin, divisor=network.divisor)  # type: ignore[arg-type]
        return len(tiles.starts), tiles.patch
    patch = tile_size(network, space, settings.patch)
    padded = tuple(n + sum(pad) for n, pad in zip(space, padding(space, patch), strict=True))
    return len(tile_starts(padded, patch)), patch


def copies_of(settings: TilingSettings, network: nn.Module) -> int:
    """Count the predictions of each tile: itself and its mirrored copies."""
    return 1 if takes_whole(network) else len(mirrorings(settings.mirror_axes))


def tile_voxels(tiles: Tiles) -> int:
    """Count the voxels of all tiles of a case; a voxel in several tiles counts several times."""
    count, size = tiles
    return count * math.prod(size)


def median_tiles(tiles: Sequence[Tiles]) -> Tiles | None:
    """Return the tiles of the case with the median tile size; None without cases."""
    by_size = sorted(tiles, key=lambda case: math.prod(case[1]))
    return by_size[len(by_size) // 2] if by_size else None
