"""Learning curves of folds: loss and Dice on validation patches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autoseg.previews.overlay import COLOURS, colour
from autoseg.report.svg import INK, draw_legend, dress, new_figure, to_svg
from autoseg.report.trained import TrainedFold

_SIZE = (9.0, 3.0)
"""Width and height in inches."""
_LINE = {"linewidth": 1.5, "marker": ".", "markersize": 4}


def fold_curves(folds: Sequence[TrainedFold], *, name: str, title: str) -> str:
    """Draw the loss and the mean Dice of all folds of a configuration over the training steps, as SVG."""
    figure = new_figure(*_SIZE)
    loss, dice = figure.subplots(1, 2)
    draw_fold_curves(loss, dice, folds)
    return to_svg(figure, name=name, title=title)


def draw_fold_curves(loss: Any, dice: Any, folds: Sequence[TrainedFold]) -> None:
    """Draw the loss and the mean Dice of all folds of a configuration into two axes."""
    for index, fold in enumerate(folds):
        style = {"color": colour(index), "label": f"fold {fold.name}", **_LINE}
        _curve(loss, fold.records, "loss", **style)
        _curve(dice, fold.records, "validation_dice", **style)
    dress(loss, xlabel="step", ylabel="training loss")
    dress(dice, xlabel="step", ylabel="mean Dice on validation patches", ylim=(0, 1))
    draw_legend(loss, ncols=2)


def class_curves(fold: TrainedFold, *, name: str, title: str) -> str:
    """Draw the Dice of each class and the learning rate over the training steps of one fold, as SVG.

    If there are many classes, only those with the lowest final Dice are drawn.
    """
    figure = new_figure(*_SIZE)
    dice, rate = figure.subplots(1, 2)
    shown = lowest_classes(fold.records, len(COLOURS))
    for index, label in enumerate(shown):
        points = [(r["step"], _class_dice(r).get(label)) for r in fold.records]
        # Add a leading space, because matplotlib leaves out labels that begin with an underscore.
        _line(dice, points, color=colour(index), label=f" {label}", **_LINE)
    _curve(dice, fold.records, "validation_dice", color=INK, linewidth=2, label=" mean")
    _curve(rate, fold.records, "learning_rate", color=INK, linewidth=1.5)
    dress(dice, xlabel="step", ylabel="Dice on validation patches", ylim=(0, 1))
    dress(rate, xlabel="step", ylabel="learning rate")
    draw_legend(dice)
    return to_svg(figure, name=name, title=title)


def lowest_classes(records: Sequence[dict[str, Any]], most: int) -> list[str]:
    """Return at most ``most`` classes with the lowest final Dice, in the order of the dataset."""
    last: dict[str, float] = {}
    for record in records:
        last |= {name: dice for name, dice in _class_dice(record).items() if _is_number(dice)}
    chosen = set(sorted(last, key=lambda name: last[name])[:most])
    return [name for name in last if name in chosen]


def _class_dice(record: dict[str, Any]) -> dict[str, Any]:
    found = record.get("class_dice")
    return found if isinstance(found, dict) else {}


def _curve(axes: Any, records: Sequence[dict[str, Any]], key: str, **style: Any) -> None:
    _line(axes, [(record["step"], record.get(key)) for record in records], **style)


def _line(axes: Any, points: Sequence[tuple[int, Any]], **style: Any) -> None:
    known = [(step, value) for step, value in points if _is_number(value)]
    if known:
        axes.plot(*zip(*known, strict=True), **style)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
