"""Choice of the slices that show most of the segmentation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Focus:
    """The slice to show along each axis, and the box around the largest connected component."""

    centre: tuple[int, int, int]
    box: Box


def find_focus(labels: np.ndarray) -> Focus:
    """Choose, along each axis, the slice through the largest component that shows most of all classes.

    In ``labels`` [Z,Y,X], 0 is the background. The score of a slice is a sum over the classes: the area in the slice
    divided by the largest area of the class in any slice. Small classes thus count as much as large ones. Without
    foreground, the slices are central.
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
    """Return the slice with the highest score; if several are equal, the middle one of them."""
    others = tuple(other for other in range(3) if other != axis)
    score = np.zeros(labels.shape[axis])
    for value in np.unique(labels[labels > 0]):
        areas = (labels == value).sum(axis=others)
        score += areas / areas.max()
    best = np.flatnonzero(score == score.max())
    return int(best[len(best) // 2])


def widened(box: Box, shape: tuple[int, ...], share: float) -> Box:
    """Return ``box`` with a margin on each side, as a ``share`` of its length, cut off at the border of the image."""
    edges = []
    for extent, size in zip(box, shape, strict=True):
        margin = int(np.ceil(share * (extent.stop - extent.start)))
        edges.append(slice(max(0, extent.start - margin), min(size, extent.stop + margin)))
    return tuple(edges)  # type: ignore[return-value]
