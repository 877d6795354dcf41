"""The common structure of U-Nets: an encoder, a decoder with skips, and heads."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import nn

from autoseg.networks.taps import encoder_taps

Join = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""A function that joins upsampled features [B,C,*space] of the coarser stage with the skip of the same stage."""


def concatenate(up: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
    """Concatenate upsampled features and skip along the channel axis (Ronneberger et al. 2015)."""
    return torch.cat([up, skip], dim=1)


class UShape(nn.Module):
    """A U-Net (Ronneberger et al. 2015) of any stages.

    ``encoder`` and ``strides`` are ordered from fine to coarse; ``up``, ``decoder`` and ``heads`` from coarse to fine.
    Without deep supervision one head, the finest, suffices. ``forward`` takes images [B,C,*patch], in which each axis
    is a multiple of ``divisor``, and returns a list of logits, finest first. In training with deep supervision, the
    list has one entry for each decoder stage; otherwise it contains only the finest.
    """

    def __init__(
        self,
        *,
        encoder: Sequence[nn.Module],
        up: Sequence[nn.Module],
        decoder: Sequence[nn.Module],
        heads: Sequence[nn.Module],
        strides: Sequence[Sequence[int]],
        deep_supervision: bool = False,
        join: Join = concatenate,
    ) -> None:
        super().__init__()
        self.deep_supervision = deep_supervision
        self.join = join
        self.divisor = tuple(math.prod(axis) for axis in zip(*strides, strict=True))
        self.margin = (0,) * len(self.divisor)
        self.encoder, self.up = nn.ModuleList(encoder), nn.ModuleList(up)
        self.decoder, self.heads = nn.ModuleList(decoder), nn.ModuleList(heads)

    @property
    def taps(self) -> dict[str, nn.Module]:
        """Hidden stages by name: those of the encoder, then those of the decoder, each finest first."""
        fine_to_coarse = [*self.decoder][::-1]
        return encoder_taps(self.encoder) | {f"decoder_{level}": stage for level, stage in enumerate(fine_to_coarse)}

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return logits [B,outputs,*patch / stride], finest first."""
        skips = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        supervised = self.training and self.deep_supervision
        logits = []
        for index, (up, decode) in enumerate(zip(self.up, self.decoder, strict=True)):
            x = decode(self.join(up(x), skips[-2 - index]))
            if supervised:
                logits.append(self.heads[index](x))
        if not supervised or not logits:
            return [self.heads[-1](x)]
        return logits[::-1]
