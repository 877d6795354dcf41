"""Reliability diagram: accuracy over confidence."""

from __future__ import annotations

import numpy as np

from autoseg.evaluation.reliability import Reliability
from autoseg.previews.overlay import colour
from autoseg.report.svg import INK, draw_legend, dress, new_figure, to_svg

_SIZE = (4.0, 3.4)
"""Width and height in inches."""


def reliability_plot(
    found: Reliability, *, name: str, title: str, xlabel: str = "confidence", ylabel: str = "accuracy"
) -> str:
    """Draw the accuracy in each bin of confidence and the line of perfect calibration, as SVG.

    Points above the line mean underconfidence: the accuracy is higher than the confidence. Bars show the share of all
    predictions in each bin, so that bins with few voxels or cases are recognizable.
    """
    figure = new_figure(*_SIZE)
    axes = figure.subplots()
    bins = len(found.counts)
    shares = found.counts / max(int(found.counts.sum()), 1)
    axes.bar((np.arange(bins) + 0.5) / bins, shares, width=0.9 / bins, color=INK, alpha=0.15, label="share of all")
    axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle="--", label="perfect")
    filled = found.counts > 0
    axes.plot(
        found.mean_confidence[filled],
        found.accuracy[filled],
        color=colour(0),
        linewidth=1.5,
        marker=".",
        label=f"found, error {found.expected_error:.3f}",
    )
    dress(axes, xlabel=xlabel, ylabel=ylabel, xlim=(0, 1), ylim=(0, 1))
    draw_legend(axes, loc="upper left")
    return to_svg(figure, name=name, title=title)
