"""Parameter groups with and without weight decay."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from autoseg.networks.input_layers import Undecayed

Parameters = Iterable[nn.Parameter]


def decayed_groups(parameters: Parameters, weight_decay: float) -> list[dict[str, Any]]:
    """Return an optimizer's groups: all parameters decay, including biases, except those of type Undecayed."""
    decayed: list[nn.Parameter] = []
    undecayed: list[nn.Parameter] = []
    for parameter in parameters:
        (undecayed if isinstance(parameter, Undecayed) else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": undecayed, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
