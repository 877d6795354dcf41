"""Which slices of a case show most of what is segmented."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Focus:
    """Where to look: a slice along each axis, and the box around the largest connected structure."""

    centre: tuple[int, int, int]
    box: Box


def find_focus(labels: np.ndarray) -> Focus:
    """Choose, along each axis, the slice through the largest component that shows most of every class.

    ``labels`` [Z,Y,X] holds 0 for the background. A class counts in a slice by its area there as a share of its largest
    area in any slice, so that a small class beside a large one is shown as well. Without foreground it is the centre.
    """
    boxes = ndimage.find_objects((labels > 0).astype(np.uint8))
    if not boxes:
        whole = tuple(slice(0, n) for n in labels.shape)
        return Focus(tuple(n // 2 for n in labels.shape), whole)  # type: ignore[arg-type]
    outer = boxes[0]
    components, count = ndimage.label(labels[outer] > 0, np.ones((3, 3, 3)))
    largest = int(np.bincount(components.ravel(), minlength=count + 1)[1:].argmax()) + 1
    inner = ndimage.find_objects(components)[largest - 1]
    box: Box = tuple(slice(o.start + i.start, o.start + i.stop) for o, i in zip(outer, inner, strict=True))  # type: ignore[assignment]
    shown = np.where(components[inner] == largest, labels[box], 0)
    return Focus(tuple(box[axis].start + _best_slice(shown, axis) for axis in range(3)), box)  # type: ignore[arg-type]


def _best_slice(labels: np.ndarray, axis: int) -> int:
    """Return the slice with the largest sum of the classes' shares; of equal ones the middle."""
    others = tuple(other for other in range(3) if other != axis)
    score = np.zeros(labels.shape[axis])
    for value in np.unique(labels[labels > 0]):
        areas = (labels == value).sum(axis=others)
        score += areas / areas.max()
    best = np.flatnonzero(score == score.max())
    return int(best[len(best) // 2])


def widened(box: Box, shape: tuple[int, ...], share: float) -> Box:
    """Return a box that reaches further on each side by a share of its length, within the image."""
    edges = []
    for extent, size in zip(box, shape, strict=True):
        margin = int(np.ceil(share * (extent.stop - extent.start)))
        edges.append(slice(max(0, extent.start - margin), min(size, extent.stop + margin)))
    return tuple(edges)  # type: ignore[return-value]
