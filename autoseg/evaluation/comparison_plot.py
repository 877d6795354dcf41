"""Plots of a comparison: a scatter plot of B over A, and a Bland-Altman plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.errors import PlanError
from autoseg.evaluation.comparison import ALL_CLASSES, ComparedClass, Comparison
from autoseg.files.storage import atomic_path

AGREEMENT = 1.96
"""Limits of agreement in SDs of the differences (95 % if these are normal): Bland and Altman, Lancet 327, 1986."""
MOST_NAMED = 10
"""Maximum number of classes with their own colour and name; more colours cannot be distinguished."""
UNITS = {"hd": "mm", "hd95": "mm", "assd": "mm", "volume_difference": "absolute, mm³"}
PICTURES = (".png", ".pdf", ".svg")
_POINT = {"s": 18, "alpha": 0.75, "linewidths": 0}


def check_plot_name(path: Path) -> None:
    """Raise :class:`PlanError` if :func:`write_comparison_plot` does not support the file ending."""
    if path.suffix.lower() not in PICTURES:
        raise PlanError(
            f"{path}: found the ending '{path.suffix}', expected one of {', '.join(PICTURES)}; rename the output file"
        )


def write_comparison_plot(comparison: Comparison, path: Path) -> None:
    """Draw, for each metric, a scatter plot of B over A and a Bland-Altman plot, as PNG, PDF or SVG.

    The scatter plot contains the line of equality. All classes are drawn. The mean and the limits of agreement in the
    Bland-Altman plot are those of all points together.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    metrics = list(dict.fromkeys(row.pairs.metric for row in comparison.rows))
    figure = Figure(figsize=(11, 4.8 * len(metrics)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(metrics), 2, squeeze=False)
    for metric, (left, right) in zip(metrics, axes, strict=True):
        rows = [row for row in comparison.rows if row.pairs.metric == metric and row.pairs.name != ALL_CLASSES]
        rows = [row for row in rows if row.pairs.cases]
        _scatter(left, rows, metric)
        _bland_altman(right, rows, metric)
    figure.suptitle(f"A: {comparison.first}\nB: {comparison.second}", fontsize=10)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _scatter(axes: Any, rows: Sequence[ComparedClass], metric: str) -> None:
    for row, style in zip(rows, _styles(rows), strict=True):
        axes.scatter(row.pairs.first, row.pairs.second, **style, **_POINT)
    axes.axline((0, 0), slope=1, color="0.4", linewidth=1)
    label = _label(metric)
    axes.set(xlabel=f"A: {label}", ylabel=f"B: {label}", title=f"{metric} of each case and class")
    _square(axes, rows)
    if 1 < len(rows) <= MOST_NAMED:
        axes.legend(fontsize="small", frameon=False)


def _square(axes: Any, rows: Sequence[ComparedClass]) -> None:
    """Set the same range on both axes, so that the line of equality is the diagonal."""
    if not rows:
        return
    values = np.concatenate([values for row in rows for values in (row.pairs.first, row.pairs.second)])
    margin = 0.05 * max(np.ptp(values), 1e-3)
    limits = (values.min() - margin, values.max() + margin)
    axes.set(xlim=limits, ylim=limits, aspect="equal")


def _bland_altman(axes: Any, rows: Sequence[ComparedClass], metric: str) -> None:
    for row, style in zip(rows, _styles(rows), strict=True):
        axes.scatter((row.pairs.first + row.pairs.second) / 2, row.pairs.second - row.pairs.first, **style, **_POINT)
    axes.axhline(0, color="0.4", linewidth=1)
    axes.set(xlabel=f"mean of A and B: {_label(metric)}", ylabel="B − A", title="difference over mean")
    # Leave room for the numbers above the lines.
    axes.margins(y=0.12)
    if not rows:
        return
    differences = np.concatenate([row.pairs.second - row.pairs.first for row in rows])
    mean, spread = differences.mean(), differences.std(ddof=1) if len(differences) > 1 else 0.0
    for stds, line in ((0.0, "solid"), (-AGREEMENT, "dashed"), (AGREEMENT, "dashed")):
        height = mean + stds * spread
        axes.axhline(height, color="tab:red", linewidth=1, linestyle=line)
        axes.annotate(
            f"{height:+.3g}",
            (1, height),
            xycoords=("axes fraction", "data"),
            xytext=(-3, 2),
            textcoords="offset points",
            ha="right",
            fontsize="small",
            color="tab:red",
        )


def _label(metric: str) -> str:
    unit = UNITS.get(metric)
    return f"{metric} ({unit})" if unit else metric


def _styles(rows: Sequence[ComparedClass]) -> list[dict[str, Any]]:
    if len(rows) > MOST_NAMED:
        return [{"color": "tab:blue"}] * len(rows)
    return [{"color": f"C{index}", "label": row.pairs.name} for index, row in enumerate(rows)]
