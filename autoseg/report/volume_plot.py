"""Plots of predicted volumes over reference volumes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from autoseg.evaluation.metrics import ClassMetrics
from autoseg.previews.overlay import colour
from autoseg.report.svg import INK, dress, new_figure, to_svg
from autoseg.report.trained import ValidatedCase

_COLUMNS = 4
_INCHES = 2.4
"""Width and height of one plot."""
_TITLE_LENGTH = 28


def volume_plots(cases: Sequence[ValidatedCase], classes: Sequence[str], *, flat: bool, name: str, title: str) -> str:
    """Draw, for each class, the predicted over the reference volume of all cases with the line of identity, as SVG.

    Volumes are in ml. For ``flat`` data (single slices), areas in pixels are drawn instead.
    """
    columns = min(_COLUMNS, len(classes))
    rows = math.ceil(len(classes) / columns)
    figure = new_figure(_INCHES * columns, _INCHES * rows)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(classes) :]:
        axes.remove()
    unit = "pixels" if flat else "ml"
    for index, (axes, label) in enumerate(zip(grid, classes, strict=False)):
        found = [_extents(case.metrics[label], flat=flat) for case in cases if label in case.metrics]
        _draw(axes, np.array(found).reshape(-1, 2), colour(index))
        dress(axes, title=_cut(label))
        # Label only the outer plots, so that the plots stay large.
        axes.set_xlabel(f"reference, {unit}" if index >= len(classes) - columns else "")
        axes.set_ylabel(f"prediction, {unit}" if index % columns == 0 else "")
    return to_svg(figure, name=name, title=title)


def _extents(metrics: ClassMetrics, *, flat: bool) -> tuple[float, float]:
    if not flat:
        return metrics.reference_ml, metrics.predicted_ml
    return (
        metrics.true_positives + metrics.false_negatives,
        metrics.true_positives + metrics.false_positives,
    )


def _draw(axes: Any, pairs: np.ndarray, shade: str) -> None:
    """Draw pairs [cases,2] with the same range on both axes, so that the line of identity is the diagonal."""
    most = float(pairs.max(initial=0)) * 1.05 or 1.0
    axes.plot((0, most), (0, most), color=INK, alpha=0.5, linewidth=1)
    axes.scatter(pairs[:, 0], pairs[:, 1], color=shade, s=16, alpha=0.8, linewidths=0)
    margin = 0.03 * most
    axes.set(xlim=(-margin, most), ylim=(-margin, most), aspect="equal")
    axes.locator_params(nbins=4)


def _cut(text: str) -> str:
    return text if len(text) <= _TITLE_LENGTH else text[: _TITLE_LENGTH - 1] + "…"
