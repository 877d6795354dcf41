"""Hounsfield windows whose centres and widths are learned with the network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from autoseg.networks.input_layers import Undecayed, input_layers
from autoseg.preprocessing.normalization.arguments import check_range, check_windows, refuse

_NAME = "learnable_window"
_FAMILY = "input_layers"


@input_layers.register(_NAME)
class LearnableWindow(nn.Module):
    """Put windowed copies in the place of one channel; they begin as fixed windows would be (Moe 2019, section 6).

    The channel is stored by a normalization that is the same for all cases, such as ``ct`` or ``none``, and clips no
    more than windows may learn to see. A window is learned as the shift of its centre, in widths, and the logarithm of
    its width's growth: one learning rate suits narrow and wide windows in any stored unit, and widths stay above 0.
    Gradients are those of the clip: a voxel inside a window moves both, one outside it neither, where ``output`` is a
    range; where it is None, voxels outside move centre and width as in the source.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        units: Sequence[tuple[float, float] | None],
        windows: Sequence[Sequence[float]],
        channel: int = 0,
        output: Sequence[float] | None = (-1.0, 1.0),
        hu_offset: float = 0.0,
    ) -> None:
        """``windows``, ``output``, ``hu_offset``: as the normalization ``window`` has; ``channel``: of those stored."""
        super().__init__()
        check_windows(_NAME, windows, family=_FAMILY)
        if output is not None:
            check_range(_NAME, "output", output, family=_FAMILY)
        if not 0 <= channel < len(units):
            refuse(_NAME, "channel", channel, f"one of the {len(units)} channels, counted from 0", family=_FAMILY)
        stored = units[channel]
        if stored is None:
            expected = "one whose normalization is the same for all cases, such as 'ct' or 'none'"
            refuse(_NAME, "channel", channel, expected, family=_FAMILY)
        else:
            self.offset, self.scale = stored[0] - hu_offset, stored[1]
        self.channel = channel
        self.output = None if output is None else (float(output[0]), float(output[1]))
        self.out_channels = in_channels - 1 + len(windows)
        self.register_buffer("first_centres", torch.tensor([float(centre) for centre, _ in windows]))
        self.register_buffer("first_widths", torch.tensor([float(width) for _, width in windows]))
        self.shift = Undecayed(torch.zeros(len(windows)))
        self.growth = Undecayed(torch.zeros(len(windows)))

    @property
    def centres(self) -> torch.Tensor:
        """Centre of each window, in Hounsfield units."""
        return self.first_centres + self.first_widths * self.shift  # type: ignore[operator]

    @property
    def widths(self) -> torch.Tensor:
        """Width of each window, in Hounsfield units."""
        return self.first_widths * self.growth.exp()  # type: ignore[operator]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [B,out_channels,*patch], the windows where their channel was."""
        shape = (1, -1, *[1] * (x.ndim - 2))
        centres, half = self.centres.view(shape), self.widths.view(shape) / 2
        image = x[:, self.channel : self.channel + 1]
        # In stored units: the image, which is large, is not first turned into Hounsfield units.
        place = ((image - (centres - self.offset) / self.scale) / (half / self.scale)).clamp(-1, 1)
        windowed = centres + half * place if self.output is None else _stretched(place, *self.output)
        return torch.cat([x[:, : self.channel], windowed, x[:, self.channel + 1 :]], dim=1)


def _stretched(place: torch.Tensor, first: float, last: float) -> torch.Tensor:
    """Turn −1…1 into ``first``…``last``."""
    return place * ((last - first) / 2) + (first + last) / 2
