"""Dilation, erosion, opening or closing of a previous stage's labels, to simulate its errors at borders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autoseg.augmentation.ball import OPERATIONS, Ball
from autoseg.augmentation.draws import PositiveRange, Probability

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class BallOperation:
    """One operation on one label."""

    label: int
    operation: int
    """Index in the operations of :mod:`autoseg.augmentation.ball`."""
    radius: float


@dataclass(frozen=True)
class Morphology:
    """Probabilities of operations with a ball on labels, and its radius in voxels along the finest axis.

    Probabilities and radii are nnU-Net's. nnU-Net's ball has the same number of voxels along every axis. This ball is
    round in millimetres, so it does not remove a whole label with few, thick slices.
    """

    probability: Probability = 0.4
    label_probability: Probability = 0.5
    radius: PositiveRange = (1.0, 8.0)

    def sample(self, rng: np.random.Generator, labels: int) -> tuple[BallOperation, ...]:
        """Draw the operations on the labels 1 to ``labels``, in random order."""
        if rng.random() >= self.probability:
            return ()
        order = rng.permutation(labels) + 1
        chosen = rng.random(labels) < self.label_probability
        operations = rng.integers(len(OPERATIONS), size=labels)
        radii = rng.uniform(*self.radius, labels)
        drawn = zip(order[chosen], operations[chosen], radii[chosen], strict=True)
        return tuple(BallOperation(int(label), int(operation), float(radius)) for label, operation, radius in drawn)


def change_borders(labels: np.ndarray, operations: Sequence[BallOperation], spacing: Sequence[float]) -> None:
    """Apply operations to a label map [*space] in place; ``spacing``: spacing of its axes, in any unit.

    Each voxel has one label: a growing label replaces others, and voxels that a label loses become background. So the
    input channels made from the map never overlap, as in nnU-Net's transform.
    """
    finest = min(spacing)
    edges = (1.0,) * (3 - len(spacing)) + tuple(edge / finest for edge in spacing)
    volume = labels.reshape((1,) * (3 - labels.ndim) + labels.shape)
    for change in operations:
        ball = Ball(change.radius, edges)  # type: ignore[arg-type]
        mask = volume == change.label
        box = _box(mask, ball.reach)
        if box is None:
            continue
        changed = OPERATIONS[change.operation](mask[box], ball)
        part = volume[box]
        part[mask[box] & ~changed] = 0
        part[changed] = change.label


def _box(mask: np.ndarray, reach: tuple[int, int, int]) -> Box | None:
    """Return the box of a mask [Z,Y,X], enlarged by twice the reach of the ball, which closing needs; None if empty."""
    sides = []
    for axis, margin in enumerate(reach):
        found = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        if not found.size:
            return None
        sides.append(slice(max(int(found[0]) - 2 * margin, 0), int(found[-1]) + 1 + 2 * margin))
    return sides[0], sides[1], sides[2]
