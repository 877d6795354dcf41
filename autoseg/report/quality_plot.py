"""Plot of the measured Dice of cases over their expected Dice."""

from __future__ import annotations

import numpy as np

from autoseg.choice.quality import Quality
from autoseg.previews.overlay import colour
from autoseg.report.svg import INK, draw_legend, dress, new_figure, to_svg

_SIZE = (4.0, 3.4)
"""Width and height in inches."""
_NARROWEST = 0.1
"""Smallest range of the Dice axes, so that small differences between cases are not exaggerated."""
_MARKERS = {"expected": "o", "agreement": "x"}
_LABELS = {"expected": "from probabilities", "agreement": "agreement of configurations"}


def quality_plot(found: Quality, *, name: str, title: str) -> str:
    """Draw the measured Dice over the Dice expected from probabilities and from agreement of configurations, as SVG."""
    figure = new_figure(*_SIZE)
    axes = figure.subplots()
    lowest = 1.0
    for index, (what, marker) in enumerate(_MARKERS.items()):
        pairs = np.array([(getattr(case, what), case.dice) for case in found.cases.values()], dtype=np.float64)
        pairs = pairs[~np.isnan(pairs).any(axis=1)]
        if len(pairs):
            lowest = min(lowest, float(pairs.min()))
            axes.scatter(*pairs.T, color=colour(index), marker=marker, s=16, linewidths=1, label=_LABELS[what])
    low = max(0.0, min(lowest, 1 - _NARROWEST) - 0.02)
    axes.plot([low, 1], [low, 1], color=INK, linewidth=1, linestyle="--", label="equal")
    dress(axes, xlabel="expected Dice", ylabel="measured Dice", xlim=(low, 1.01), ylim=(low, 1.01))
    draw_legend(axes, loc="best")
    return to_svg(figure, name=name, title=title)
