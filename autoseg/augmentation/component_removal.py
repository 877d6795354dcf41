"""Labels of a previous stage that miss one of their parts, as a stage that overlooks things would have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from autoseg.augmentation.draws import Probability


@dataclass(frozen=True)
class Removal:
    """The loss of one component of a label."""

    label: int
    choice: float
    """Which component, from 0 to below 1, in the order in which they lie."""


@dataclass(frozen=True)
class ComponentRemoval:
    """How often a connected component of a label is removed, and how large it may be (nnU-Net's defaults)."""

    probability: Probability = 0.2
    label_probability: Probability = 0.5
    largest: Probability = 0.15
    """Share of the patch: what is larger is too plain to be overlooked."""

    def sample(self, rng: np.random.Generator, labels: int) -> tuple[Removal, ...]:
        """Draw which of the labels 1 to ``labels`` lose a component, and which."""
        if rng.random() >= self.probability:
            return ()
        chosen = np.flatnonzero(rng.random(labels) < self.label_probability) + 1
        return tuple(Removal(int(label), float(rng.random())) for label in chosen)


def remove_components(labels: np.ndarray, removals: Sequence[Removal], *, largest: float) -> None:
    """Remove components of a label map [*space] in place, none of more than the share ``largest`` of its voxels.

    Components hang together by faces; what is removed becomes background.
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
