"""Compute identical empty tiles only once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from autoseg.inference.tiles import Shape

Forward = Callable[[torch.Tensor], torch.Tensor]
"""Maps tiles [N,C,*patch] to logits [N,outputs,*patch] float32; the output is smaller by the network's margin."""

THINNED = 4
"""Step of the voxels that the quick check for empty tiles reads along each axis. One voxel of every step is nearly
always enough to find that a tile is not empty."""


def saving_empty_tiles(forward: Forward, images: torch.Tensor, patch: Shape, starts: tuple[Shape, ...]) -> Forward:
    """Return a function that computes the tiles of images [N,C,*space]; it is ``forward`` itself if no tile is empty.

    A tile is empty if every channel is constant, for example around a cropped organ or a skull-stripped brain. The
    logits of an empty tile depend only on these constants, so that one forward pass serves all equal tiles. Results
    are the same except for rounding differences caused by the batch size. Nearly empty tiles are always computed,
    because a normalization layer can amplify small differences.
    """
    places = [tuple(slice(s, s + n, THINNED) for s, n in zip(start, patch, strict=True)) for start in starts]
    perhaps = [is_empty(images[(slice(None), slice(None), *place)]).any() for place in places]
    # Test all tiles at once, because each transfer of a result waits for the device.
    return _Remembering(forward) if bool(torch.stack(perhaps).any()) else forward


def is_empty(tiles: torch.Tensor) -> torch.Tensor:
    """Return a boolean [N] for tiles [N,C,*patch]: whether all channels of the tile are constant."""
    flat = tiles.flatten(2)
    return (flat == flat[..., :1]).flatten(1).all(dim=1)


@dataclass
class _Remembering:
    """Computes tiles, and caches the logits of the last empty tile."""

    forward: Forward
    known: dict[tuple[float, ...] | int, torch.Tensor] = field(default_factory=dict)
    """Logits [outputs,*patch] of one empty tile; the key contains the value of each channel. Only one tile is cached,
    because a tile can be as large as an image."""

    def __call__(self, tiles: torch.Tensor) -> torch.Tensor:
        """Return the logits of tiles [N,C,*patch]."""
        values = tiles.flatten(2)[..., 0].tolist()
        empty = is_empty(tiles).tolist()
        kinds = [
            tuple(value) if is_so else place for place, (value, is_so) in enumerate(zip(values, empty, strict=True))
        ]
        # Compute the first tile of each kind; every tile that is not empty has its own kind.
        wanted = {kind: place for place, kind in reversed(list(enumerate(kinds))) if kind not in self.known}
        if len(wanted) == len(kinds):
            logits = self.forward(tiles)
            found = dict(zip(kinds, logits, strict=True))
        else:
            places = sorted(wanted.values())
            computed = self.forward(tiles[places]) if places else ()
            found = {kinds[place]: logit for place, logit in zip(places, computed, strict=True)}
            logits = torch.stack([found[kind] if kind in found else self.known[kind] for kind in kinds])
        for kind in [kind for kind in found if isinstance(kind, tuple)][:1]:
            self.known = {kind: found[kind].clone()}
        return logits
