"""How fast this machine trains: floating-point operations a second, of the kind that networks are made of."""

from __future__ import annotations

import statistics
import time
from contextlib import nullcontext
from functools import lru_cache

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

_FEATURES, _EDGE = 32, 32
"""A convolution as in the finest stages of a U-Net, where most of its time goes."""

STEP_EFFICIENCY = 0.6
"""Share of a lone convolution's speed that whole training steps reach: normalization, activations and the optimizer
move memory and count no operations to speak of."""


@lru_cache(maxsize=8)
def training_flops_per_second(device: str, precision: str) -> float:
    """Time forward and backward of a 3D convolution on ``device``; about a third of a second."""
    network = nn.Sequential(*(nn.Conv3d(_FEATURES, _FEATURES, 3, padding=1) for _ in range(2))).to(device)
    images = torch.zeros(1, _FEATURES, _EDGE, _EDGE, _EDGE, device=device)
    kind = torch.device(device).type

    def step() -> None:
        with torch.autocast(kind, torch.bfloat16) if precision == "bfloat16" else nullcontext():
            result = network(images).sum()
        result.backward()
        if kind == "cuda":
            torch.cuda.synchronize(device)

    counter = FlopCounterMode(display=False)
    with counter:
        step()
    return STEP_EFFICIENCY * counter.get_total_flops() / statistics.median(_timed(step) for _ in range(5))


def _timed(step: object) -> float:
    start = time.perf_counter()
    step()  # type: ignore[operator]
    return time.perf_counter() - start
