"""Output of a training for its user: metrics.jsonl, learning curves, log and progress bar."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoseg.files.storage import atomic_path, storage_error
from autoseg.workspace.paths import read_metrics

logger = logging.getLogger("autoseg.training")


@dataclass(frozen=True)
class Report:
    """Current state of a training, for listeners that display it."""

    step: int
    total: int
    loss: float
    learning_rate: float
    validation_dice: float | None
    iterations_per_second: float
    seconds_left: float


_POINTS = {"marker": ".", "markersize": 4}
"""Style of each validation in a curve: a short training has only one."""

Listener = Callable[[Report], None]


class MetricsFile:
    """File with one JSON object per line; a resumed training drops the lines after the step of its checkpoint."""

    def __init__(self, path: Path, *, step: int) -> None:
        self.path = path
        kept = [record for record in read_metrics(path) if record["step"] <= step]
        with atomic_path(path) as temporary:
            temporary.write_text("".join(json.dumps(record) + "\n" for record in kept))

    def append(self, record: dict[str, Any]) -> None:
        """Add a line."""
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise storage_error(self.path, error) from error


def plot_progress(path: Path, records: Sequence[dict[str, Any]], title: str) -> None:
    """Plot loss, validation Dice and learning rate over the steps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 7), layout="constrained")
    FigureCanvasAgg(figure)
    loss_axis, dice_axis, rate_axis = figure.subplots(3, 1, sharex=True, height_ratios=(2, 2, 1))
    _loss_curves(loss_axis, records)
    _class_curves(dice_axis, records)
    _curve(rate_axis, records, "learning_rate", "tab:gray")
    rate_axis.set(ylabel="learning rate", xlabel="step")
    for axis in (loss_axis, dice_axis, rate_axis):
        axis.grid(alpha=0.3)
    figure.suptitle(title)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100)


def _curve(axis: Any, records: Sequence[dict[str, Any]], key: str, colour: str, **style: Any) -> None:
    points = [(record["step"], record[key]) for record in records if record.get(key) is not None]
    if points:
        axis.plot(*zip(*points, strict=True), color=colour, **_POINTS, **style)


def _loss_curves(axis: Any, records: Sequence[dict[str, Any]]) -> None:
    """Draw the sum of the losses, and each of several losses."""
    names = records[-1].get("losses", {}) if records else {}
    for name in names if len(names) > 1 else ():
        points = [(record["step"], record["losses"].get(name)) for record in records if "losses" in record]
        axis.plot(*zip(*points, strict=True), linewidth=1, alpha=0.7, label=name, **_POINTS)
    _curve(axis, records, "loss", "black", label="sum")
    axis.set_ylabel("training loss")
    if len(names) > 1:
        axis.legend(loc="upper right", fontsize=8)


def _class_curves(axis: Any, records: Sequence[dict[str, Any]]) -> None:
    validated = [record for record in records if record.get("validation_dice") is not None]
    for name in validated[-1].get("class_dice", {}) if validated else []:
        points = [(r["step"], r["class_dice"].get(name)) for r in validated if r["class_dice"].get(name) is not None]
        if points:
            axis.plot(*zip(*points, strict=True), linewidth=1, alpha=0.7, label=name, **_POINTS)
    _curve(axis, validated, "validation_dice", "black", linewidth=2, label="mean")
    axis.set(ylabel="Dice on validation patches", ylim=(0, 1))
    if validated and len(validated[-1].get("class_dice", {})) <= 10:
        axis.legend(loc="lower right", fontsize=8)
