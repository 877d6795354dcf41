"""Pictures of a segmentation: contours over three planes of the image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from autoseg.images import Volume
from autoseg.storage import atomic_path

_COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#46f0f0", "#f032e6", "#bcf60c")
_PERCENTILES = (1, 99)
"""Intensities shown as black and white: a few extreme voxels must not decide."""
_PLANES = (("axial", 0), ("coronal", 1), ("sagittal", 2))


def write_overlay(
    path: Path, volume: Volume, prediction: np.ndarray, reference: np.ndarray | None, *, title: str
) -> None:
    """Draw prediction (lines) and reference (dashed) over the first channel in the three planes through the prediction.

    Label maps are [Z,Y,X]; the planes pass through the centre of what is predicted, or of the image where nothing is.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    centre = _centre(prediction if prediction.any() or reference is None else reference)
    low, high = np.percentile(volume.array[0], _PERCENTILES)
    for axes, (name, axis) in zip(figure.subplots(1, 3), _PLANES, strict=True):
        spacing = [s for other, s in enumerate(volume.geometry.spacing) if other != axis]
        shown = np.take(volume.array[0], centre[axis], axis=axis)
        axes.imshow(shown, cmap="gray", vmin=low, vmax=high, aspect=spacing[0] / spacing[1], origin="lower")
        _contours(axes, np.take(prediction, centre[axis], axis=axis), "solid")
        if reference is not None:
            _contours(axes, np.take(reference, centre[axis], axis=axis), "dashed")
        axes.set_title(f"{name} {centre[axis]}")
        axes.set_axis_off()
    lines = "solid: prediction" + (", dashed: reference" if reference is not None else "")
    figure.suptitle(f"{title} ({lines})")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100)


def _centre(labels: np.ndarray) -> tuple[int, ...]:
    """Return the median voxel of the foreground, which lies within most shapes."""
    where = np.nonzero(labels)
    if not where[0].size:
        return tuple(n // 2 for n in labels.shape)
    return tuple(int(np.median(indices)) for indices in where)


def _contours(axes: Any, labels: np.ndarray, style: str) -> None:
    for value in np.unique(labels[labels > 0]):
        colour = _COLOURS[(int(value) - 1) % len(_COLOURS)]
        if min(labels.shape) > 1:
            axes.contour(labels == value, levels=[0.5], colors=colour, linestyles=style, linewidths=1.3)
