"""A map of the classes' frequencies that a network reads where each voxel lies in the body."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from autoseg.plan import Component

SMALLEST_WEIGHT = 1e-3
"""Below this weight a voxel is padding, and what its coordinates are divided by stays finite."""


class PriorMapReader(nn.Module):
    """Put the map's values in the place of the four channels that say where a voxel lies.

    The channels are those of :class:`autoseg.preprocessing.extra.prior_map.PriorMap`: p·w for z, y, x and the weight w.
    The map is a buffer: it is kept with the weights, is not learned, and is filled before training
    (:mod:`autoseg.trainers.prior`). It is read linearly between the centres of its cells; where w is below 1, at the
    image's border, values fade out.
    """

    def __init__(self, *, in_channels: int, channel: int, maps: int, grid: Sequence[int]) -> None:
        """``channel``: the first of the four; ``maps``: channels of the map; ``grid``: its cells along z, y, x."""
        super().__init__()
        self.channel = channel
        self.out_channels = in_channels - 4 + maps
        self.register_buffer("map", torch.zeros(maps, *grid))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [B,out_channels,*patch], the map's values where the coordinates were."""
        first = self.channel
        weight = x[:, first + 3 : first + 4].float()
        place = x[:, first : first + 3].float() / weight.clamp(min=SMALLEST_WEIGHT)
        # grid_sample wants [B,Z,Y,X,(x,y,z)]; a slice is a volume of one slice.
        grid = place.movedim(1, -1).flip(-1).reshape(len(x), -1, *x.shape[-2:], 3)
        stored: torch.Tensor = self.map  # type: ignore[assignment]
        maps = stored.float().expand(len(x), *stored.shape)
        read = F.grid_sample(maps, grid, padding_mode="border", align_corners=False)
        values = read.reshape(len(x), -1, *x.shape[2:]) * weight
        return torch.cat([x[:, :first], values.to(x.dtype), x[:, first + 4 :]], dim=1)


def reader_of(spec: Component, *, in_channels: int, channel: int) -> PriorMapReader | None:
    """Return what reads the map of an extra channel; None where the channel has none."""
    if spec["name"] != "prior_map":
        return None
    return PriorMapReader(in_channels=in_channels, channel=channel, maps=spec["maps"], grid=spec["grid"])
