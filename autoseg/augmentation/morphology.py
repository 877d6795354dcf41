"""Labels of a previous stage grown, shrunk, opened or closed, as its mistakes along borders would have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autoseg.augmentation.ball import OPERATIONS, Ball
from autoseg.augmentation.draws import PositiveRange, Probability

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class BallOperation:
    """What is done to one label."""

    label: int
    operation: int
    """Place among the operations of :mod:`autoseg.augmentation.ball`."""
    radius: float


@dataclass(frozen=True)
class Morphology:
    """How often labels are changed by a ball, and of what radius, in voxels along the finest axis.

    nnU-Net's probabilities and radii. Its ball counts voxels along every axis; this one is a ball in millimetres, which
    does not take away all of a label that has few, thick slices.
    """

    probability: Probability = 0.4
    label_probability: Probability = 0.5
    radius: PositiveRange = (1.0, 8.0)

    def sample(self, rng: np.random.Generator, labels: int) -> tuple[BallOperation, ...]:
        """Draw what is done to which of the labels 1 to ``labels``, and in which order."""
        if rng.random() >= self.probability:
            return ()
        order = rng.permutation(labels) + 1
        chosen = rng.random(labels) < self.label_probability
        operations = rng.integers(len(OPERATIONS), size=labels)
        radii = rng.uniform(*self.radius, labels)
        drawn = zip(order[chosen], operations[chosen], radii[chosen], strict=True)
        return tuple(BallOperation(int(label), int(operation), float(radius)) for label, operation, radius in drawn)


def change_borders(labels: np.ndarray, operations: Sequence[BallOperation], spacing: Sequence[float]) -> None:
    """Carry out operations on a label map [*space] in place; ``spacing`` is that of its axes, in any unit.

    A voxel keeps one label: a label that grows takes voxels from the others, and what one leaves is background. Input
    channels made of the map never overlap therefore, which is what nnU-Net's own transform comes to.
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
    """Return the box that holds a mask [Z,Y,X] and all that the ball reaches, twice over for what is closed."""
    sides = []
    for axis, margin in enumerate(reach):
        found = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        if not found.size:
            return None
        sides.append(slice(max(int(found[0]) - 2 * margin, 0), int(found[-1]) + 1 + 2 * margin))
    return sides[0], sides[1], sides[2]
