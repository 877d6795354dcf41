"""The layer that reads a map of class frequencies at the position of each voxel in the body."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

SMALLEST_WEIGHT = 1e-3
"""Voxels with a smaller weight are padding; this minimum avoids division by zero."""


class PriorMapLayer(nn.Module):
    """Replace the four position channels of each voxel by the map's values at that position.

    The channels are those of :class:`autoseg.preprocessing.extra.prior_map.PriorMap`: p·w for z, y, x and the weight w.
    The map is a buffer: it is saved with the weights and gradients do not change it;
    :meth:`autoseg.preprocessing.extra.prior_map.PriorMap.learn` fills it before training. Values are interpolated
    linearly between the centres of the cells and multiplied by w, so they fade out at the image's border, where w < 1.
    """

    def __init__(self, *, in_channels: int, channel: int, maps: int, grid: Sequence[int]) -> None:
        """``channel``: the first of the four; ``maps``: channels of the map; ``grid``: its cells along z, y, x."""
        super().__init__()
        self.channel = channel
        self.out_channels = in_channels - 4 + maps
        self.register_buffer("map", torch.zeros(maps, *grid))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [B,out_channels,*patch] with the map's values in place of the coordinates."""
        first = self.channel
        weight = x[:, first + 3 : first + 4].float()
        place = x[:, first : first + 3].float() / weight.clamp(min=SMALLEST_WEIGHT)
        # grid_sample expects [B,Z,Y,X,(x,y,z)]; a 2D patch is passed as a volume with one slice.
        grid = place.movedim(1, -1).flip(-1).reshape(len(x), -1, *x.shape[-2:], 3)
        stored: torch.Tensor = self.map  # type: ignore[assignment]
        maps = stored.float().expand(len(x), *stored.shape)
        read = F.grid_sample(maps, grid, padding_mode="border", align_corners=False)
        values = read.reshape(len(x), -1, *x.shape[2:]) * weight
        return torch.cat([x[:, :first], values.to(x.dtype), x[:, first + 4 :]], dim=1)
