"""Removal of components from the labels of a previous stage, to simulate structures that the stage misses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from autoseg.augmentation.draws import Probability


@dataclass(frozen=True)
class Removal:
    """The removal of one connected component of a label."""

    label: int
    choice: float
    """Selects the component: a relative position, 0 ≤ choice < 1, in the list of components."""


@dataclass(frozen=True)
class ComponentRemoval:
    """Probability and maximum size of the removal of a label's connected component (nnU-Net's defaults)."""

    probability: Probability = 0.2
    label_probability: Probability = 0.5
    largest: Probability = 0.15
    """Maximum size as a fraction of the patch; networks rarely miss larger components, so these always stay."""

    def sample(self, rng: np.random.Generator, labels: int) -> tuple[Removal, ...]:
        """Draw which of the labels 1 to ``labels`` lose a component, and which component."""
        if rng.random() >= self.probability:
            return ()
        chosen = np.flatnonzero(rng.random(labels) < self.label_probability) + 1
        return tuple(Removal(int(label), float(rng.random())) for label in chosen)


def remove_components(labels: np.ndarray, removals: Sequence[Removal], *, largest: float) -> None:
    """Remove components of a label map [*space] in place; ``largest``: maximum size as a fraction of the map's voxels.

    Voxels of a component are connected by faces. Removed components become background.
    """
    if not removals:
        return
    boxes = ndimage.find_objects(labels)
    for removal in removals:
        box = boxes[removal.label - 1] if removal.label <= len(boxes) else None
        if box is None:
            continue
        part = labels[box]
        components, _ = ndimage.label(part == removal.label)
        sizes = np.bincount(components.ravel())[1:]
        fitting = np.flatnonzero(sizes <= largest * labels.size) + 1
        if fitting.size:
            part[components == fitting[int(removal.choice * fitting.size)]] = 0
