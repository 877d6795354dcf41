"""Hounsfield windows with learned centres and widths."""

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
    """Replace one channel by windowed copies, which start as fixed windows (Moe 2019, section 6).

    The normalization of the channel must be the same for all cases, such as ``ct`` or ``none``, and should not clip
    values that the windows may include later. The learned parameters of a window are the shift of its centre, relative
    to the first width, and the logarithm of the ratio of its width to the first width. Therefore one learning rate
    suits narrow and wide windows in any stored unit, and widths stay above 0. Gradients are those of the clip. If
    ``output`` is a range, only voxels inside a window change its centre and width. If ``output`` is None, voxels
    outside change them too, as in the source.
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
        """``windows``, ``output``, ``hu_offset``: as in the normalization ``window``; ``channel``: a stored channel."""
        super().__init__()
        check_windows(_NAME, windows, family=_FAMILY)
        if output is not None:
            check_range(_NAME, "output", output, family=_FAMILY)
        if not 0 <= channel < len(units):
            refuse(_NAME, "channel", channel, f"one of the {len(units)} channels, counted from 0", family=_FAMILY)
        stored = units[channel]
        if stored is None:
            expected = "a channel whose normalization is the same for all cases, such as 'ct' or 'none'"
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
        """Return [B,out_channels,*patch]; the windows are at the position of the replaced channel."""
        shape = (1, -1, *[1] * (x.ndim - 2))
        centres, half = self.centres.view(shape), self.widths.view(shape) / 2
        image = x[:, self.channel : self.channel + 1]
        # Compute in stored units, to avoid a conversion of the whole image to Hounsfield units.
        place = ((image - (centres - self.offset) / self.scale) / (half / self.scale)).clamp(-1, 1)
        windowed = centres + half * place if self.output is None else _stretched(place, *self.output)
        return torch.cat([x[:, : self.channel], windowed, x[:, self.channel + 1 :]], dim=1)


def _stretched(place: torch.Tensor, first: float, last: float) -> torch.Tensor:
    """Map the range −1…1 to ``first``…``last``."""
    return place * ((last - first) / 2) + (first + last) / 2
