"""Planning of networks: functions that return the plan of a network for a patch size."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from autoseg.registry import Component


@dataclass(frozen=True)
class Topology:
    """Strides and kernels of each stage, finest first."""

    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]

    @property
    def stages(self) -> int:
        """Number of resolutions."""
        return len(self.strides)

    @property
    def divisor(self) -> tuple[int, ...]:
        """Product of strides for each axis; patch sizes must be a multiple of it."""
        return tuple(math.prod(axis) for axis in zip(*self.strides, strict=True))


NetworkSpec = Callable[[int, Topology, int], Component]
"""A function of dimension, topology and features of the first stage; returns the plan of a network."""

Plans = Mapping[str, NetworkSpec]
"""Plan functions of a network, by planner name.

If the class of a registered network has ``plans``, these planner names exist without further registration."""

USUAL_FEATURES = 32
"""Features of the first stage of nnU-Net; planners use fewer if time or memory is short."""
MOST_FEATURES = {2: 512, 3: 320}
"""Largest number of features of a stage, by dimension (nnU-Net)."""
NARROW = 8
"""Largest ratio of features to those of the first stage, if the first stage has fewer features than nnU-Net.

The coarsest stages contain most weights. The limit saves time for orthogonalizing them in short trainings."""


def doubling_features(dimension: int, stages: int, first: int) -> list[int]:
    """Return the features of each stage: they double from ``first`` up to 320 in 3D and 512 in 2D (see ``NARROW``)."""
    most = MOST_FEATURES[dimension] if first >= USUAL_FEATURES else NARROW * first
    return [min(first * 2**stage, most) for stage in range(stages)]


def stage_arguments(topology: Topology) -> Component:
    """Return the arguments ``kernels`` and ``strides`` of a network, for each stage."""
    return {
        "kernels": [list(kernel) for kernel in topology.kernels],
        "strides": [list(stride) for stride in topology.strides],
    }
