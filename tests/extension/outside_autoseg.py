"""A package outside the project: one of each thing that other packages may add, in as few lines as that takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


def describe(dimension, topology, first_features):
    """Describe the network for a planner: one convolution, whatever the patch."""
    return {"name": "outside_net", "features": first_features // 8}


class OutsideNet(nn.Module):
    """Two convolutions."""

    plans: ClassVar = {"outside_net": describe}

    def __init__(self, *, in_channels: int, outputs: int, dimension: int, features: int) -> None:
        super().__init__()
        layer = nn.Conv2d if dimension == 2 else nn.Conv3d
        self.first = layer(in_channels, features, 3, padding=1)
        self.last = layer(features, outputs, 1)
        self.divisor, self.margin, self.taps = (1,) * dimension, (0,) * dimension, {"first": self.first}

    def forward(self, x):
        """Return one tensor of logits."""
        return [self.last(torch.relu(self.first(x)))]


class OutsideLoss(nn.Module):
    """Cross-entropy."""

    def forward(self, logits, target):
        """Return the mean over the voxels."""
        return F.cross_entropy(logits, target.long())


@dataclass(frozen=True)
class Halved:
    """Divides intensities by ``by``."""

    by: float = 2.0

    def __call__(self, image):
        """Normalize [Z,Y,X]."""
        return (image / self.by).astype(np.float32)


@dataclass(frozen=True)
class Ramp:
    """A channel that grows along z, on ``cells`` that are fitted to the data."""

    fitted: ClassVar = {"cells": 1}
    cells: int

    @staticmethod
    def fit(spec, dataset, shape):
        """Take the slices of the median case."""
        return {"cells": shape[0], **spec}

    @property
    def channels(self):
        """One."""
        return 1

    def __call__(self, grid, files):
        """Compute [1,Z,Y,X]."""
        return grid.spread([grid.in_image(0) * self.cells])

    def check(self, geometry, files):
        """No file is needed."""

    def paths(self, files):
        """No file is needed."""
        return ()

    def mirrored(self, axis, transpose):
        """It does not change with the side of the body."""
        return ()


@dataclass(frozen=True)
class Inverted:
    """A decoder that gives every voxel its least probable class; nobody should choose it."""

    decodes: ClassVar = True
    dataset: object

    @staticmethod
    def candidates(dataset):
        """Return it as it is."""
        return [{"name": "outside_inverted"}]

    def __call__(self, case, labels):
        """Return label values [Z,Y,X]."""
        (scores,) = case.scores
        shape = scores.preprocessing.geometry.size
        return np.full(shape, self.dataset.values[-1], dtype=np.uint8)


@dataclass(frozen=True)
class BrightInT1:
    """A step that looks at the image: what is brighter than ``above`` in the first channel is body."""

    dataset: object
    above: float

    @staticmethod
    def candidates(dataset):
        """Return some thresholds, for cross-validation to choose from."""
        return [{"name": "outside_bright", "above": above} for above in (1e6, 60.0, 75.0)]

    def __call__(self, case, labels):
        """Return label values [Z,Y,X]."""
        bright = case.read_image().array[0] > self.above
        return bright.astype(labels.dtype)
