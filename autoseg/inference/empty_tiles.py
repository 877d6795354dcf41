"""Tiles with nothing in them, of which a network computes one for all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from autoseg.inference.tiles import Shape

Forward = Callable[[torch.Tensor], torch.Tensor]
"""Takes tiles [N,C,*patch]; returns their logits [N,outputs,*patch] float32, less the network's margin."""

THINNED = 4
"""Of every so many voxels along each axis one tells that a tile is not empty, nearly always."""


def saving_empty_tiles(forward: Forward, images: torch.Tensor, patch: Shape, starts: tuple[Shape, ...]) -> Forward:
    """Return what computes tiles of images [N,C,*space]: ``forward`` itself, unless some of them are empty.

    A tile is empty where each channel has one value throughout, as around a cropped organ or a skull-stripped brain.
    What a network makes of it depends on these values alone, so that nothing is assumed about what lies there: results
    are the same to the rounding that the size of a batch brings about. Tiles that are only nearly empty are computed,
    because a normalization layer may make much of small differences.
    """
    places = [tuple(slice(s, s + n, THINNED) for s, n in zip(start, patch, strict=True)) for start in starts]
    perhaps = [is_empty(images[(slice(None), slice(None), *place)]).any() for place in places]
    # One question for all tiles: each answer has to wait for the device.
    return _Remembering(forward) if bool(torch.stack(perhaps).any()) else forward


def is_empty(tiles: torch.Tensor) -> torch.Tensor:
    """Tell of each of some tiles [N,C,*patch] whether all of its channels are constant."""
    flat = tiles.flatten(2)
    return (flat == flat[..., :1]).flatten(1).all(dim=1)


@dataclass
class _Remembering:
    """Computes tiles, the last kind of empty ones only once."""

    forward: Forward
    known: dict[tuple[float, ...] | int, torch.Tensor] = field(default_factory=dict)
    """Logits [outputs,*patch] of an empty tile, by the value of each channel; one tile may take as much as an image."""

    def __call__(self, tiles: torch.Tensor) -> torch.Tensor:
        """Return the logits of tiles [N,C,*patch]."""
        values = tiles.flatten(2)[..., 0].tolist()
        empty = is_empty(tiles).tolist()
        kinds = [
            tuple(value) if is_so else place for place, (value, is_so) in enumerate(zip(values, empty, strict=True))
        ]
        # Of each kind the first; a tile that is not empty is a kind of its own.
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
