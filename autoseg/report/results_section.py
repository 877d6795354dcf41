"""Section of the report about the training and cross-validation of one configuration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from autoseg.data.dataset import Dataset
from autoseg.evaluation.summary import Statistics, Summary
from autoseg.report.case_pictures import CasePicture, case_pictures
from autoseg.report.curves import class_curves, fold_curves
from autoseg.report.data_section import MOST_CLASSES
from autoseg.report.tables import ABSENT, Table, number, spread
from autoseg.report.trained import Run, TrainedFold, ValidatedCase
from autoseg.report.volume_plot import volume_plots

MOST_CASES = 50
"""Maximum number of rows in the table of cases; the cases with the lowest Dice are shown."""
MOST_CLASS_COLUMNS = 4
MOST_VOLUME_PLOTS = 8


@dataclass(frozen=True)
class Plot:
    """An SVG element and its caption."""

    svg: str
    caption: str


@dataclass(frozen=True)
class RunSection:
    """The content of the section about one configuration."""

    identifier: str
    """Identifier of the heading, unique in the page."""
    title: str
    facts: dict[str, str]
    curves: Plot | None
    class_curves: tuple[Plot, ...]
    tables: tuple[Table, ...]
    volumes: Plot | None
    pictures: tuple[CasePicture, ...]


def run_section(run: Run, dataset: Dataset, *, index: int, flat: bool) -> RunSection:
    """Collect the results of a configuration; ``index`` is its position in the report."""
    identifier, title = f"run{index}", run.configuration
    title += f" ({run.trainer})" if run.trainer != "supervised" else ""
    summary, cases = run.summary, run.cases
    tables = [_folds_table(run), *_trainer_table(run)]
    if summary and summary.cases:
        tables += [classes_table(summary), cases_table(cases, list(summary.classes))]
    return RunSection(
        identifier=identifier,
        title=title,
        facts=_facts(run, summary),
        curves=_curves(run, identifier, title),
        class_curves=tuple(_class_curves(run, identifier, title)),
        tables=tuple(tables),
        volumes=_volumes(cases, summary, name=f"{identifier}-volumes", title=title, flat=flat) if summary else None,
        pictures=tuple(case_pictures(cases, dataset)),
    )


def _facts(run: Run, summary: Summary | None) -> dict[str, str]:
    facts = {} if run.planned else {"Plan": "the plan no longer contains this configuration"}
    if summary is None:
        return facts | {"Cross-validation": "no fold is validated yet"}
    names = ", ".join(fold.name for fold in run.validated)
    short = {
        "Not validated": sum(len(fold.summary.not_validated) for fold in run.validated if fold.summary),
        "Validated without mirroring": sum(len(fold.summary.not_mirrored) for fold in run.validated if fold.summary),
    }
    facts |= {what: f"{count} cases, because the time budget was used up" for what, count in short.items() if count}
    return facts | {
        "Mean Dice": f"{number(summary.mean_dice, 4)} (over all voxels {number(summary.pooled_dice, 4)})",
        "Cases": f"{len(summary.cases)}, held-out cases of {'fold' if len(run.validated) == 1 else 'folds'} {names}",
    }


def _folds_table(run: Run) -> Table:
    rows = []
    for fold in run.folds:
        last = fold.records[-1] if fold.records else {}
        steps = f"{last['step']} of {last.get('total', ABSENT)}" if last else ABSENT
        if fold.finished:
            steps = str(last["step"]) if last else "finished"
        seconds = last.get("seconds")
        minutes = number(seconds / 60, 1) if isinstance(seconds, int | float) else ABSENT
        validated = (number(fold.summary.mean_dice, 4), str(len(fold.summary.cases))) if fold.summary else (ABSENT,) * 2
        patches = number(last.get("validation_dice"))
        rows.append((fold.name, steps, minutes, number(last.get("loss")), patches, *validated))
    header = ("Fold", "Steps", "Minutes", "Loss", "Dice on patches", "Dice on cases", "Cases")
    note = "Fold all is validated on its training cases." if any(fold.name == "all" for fold in run.folds) else ""
    return Table("Folds", header, tuple(rows), note)


def _trainer_table(run: Run) -> list[Table]:
    """Return a table of the losses and metrics that a trainer names; none for a trainer with one loss."""
    last = {fold.name: fold.records[-1] for fold in run.folds if fold.records}
    found = {name: _named(record, "losses") | _named(record, "metrics") for name, record in last.items()}
    names = list(dict.fromkeys(key for values in found.values() for key in values))
    if len(names) < 2:
        return []
    rows = tuple((name, *(number(values.get(key)) for key in names)) for name, values in found.items())
    return [Table("Losses and metrics of the trainer", ("Fold", *names), rows, "At the last validation of each fold.")]


def _named(record: dict[str, Any], field: str) -> dict[str, Any]:
    values = record.get(field)
    return values if isinstance(values, dict) else {}


def classes_table(summary: Summary) -> Table:
    """Return a table of the metrics of each class over all held-out cases; of many classes, only the worst."""
    names = worst_classes(summary, MOST_CLASSES)
    rows = []
    for name in names:
        found = summary.classes[name]
        measured = (_spread(found["dice"], 3), number(found["dice"].median), number(summary.pooled[name].dice))
        distances = (_spread(found["hd95"], 1), _spread(found["assd"], 2))
        volume = found["relative_volume_difference"].mean
        error = ABSENT if math.isnan(volume) else f"{100 * volume:+.1f} %"
        rows.append((name, *measured, *distances, error, str(found["dice"].count)))
    header = ("Class", "Dice, mean ± SD", "Median", "Pooled", "HD95, mm", "ASSD, mm", "Volume error", "Cases")
    note = "Pooled: over the voxels of all cases together."
    if len(names) < len(summary.classes):
        note = f"The {len(names)} worst of {len(summary.classes)} classes. {note}"
    return Table("Cross-validation", header, tuple(rows), note)


def worst_classes(summary: Summary, most: int) -> list[str]:
    """Return all classes; if more than ``most``, only those with the lowest mean Dice, the lowest first."""
    if len(summary.classes) <= most:
        return list(summary.classes)
    dice = {name: found["dice"].mean for name, found in summary.classes.items()}
    return sorted(dice, key=lambda name: (math.isnan(dice[name]), dice[name]))[:most]


def cases_table(cases: Sequence[ValidatedCase], classes: Sequence[str]) -> Table:
    """Return a table of cases, lowest Dice first, with the Dice of each class (or only the worst of many classes)."""
    few = len(classes) <= MOST_CLASS_COLUMNS
    rows = []
    for case in cases[:MOST_CASES]:
        worst = case.worst
        columns = [number(case.metrics[name].dice) if name in case.metrics else ABSENT for name in classes]
        if not few:
            columns = [f"{worst[0]}: {number(worst[1])}" if worst else ABSENT]
        largest = max((m.hd95 for m in case.metrics.values() if not math.isnan(m.hd95)), default=math.nan)
        rows.append((case.name, case.fold.name, number(case.dice), *columns, number(largest, 1)))
    header = ("Case", "Fold", "Mean Dice", *(classes if few else ("Worst class",)), "Largest HD95, mm")
    note = f"The {MOST_CASES} worst of {len(cases)} cases; all are in summary.csv." if len(rows) < len(cases) else ""
    return Table("Cases, lowest Dice first", header, tuple(rows), note)


def _spread(statistics: Statistics, digits: int) -> str:
    return spread(statistics.mean, statistics.sd, digits)


def _curves(run: Run, identifier: str, title: str) -> Plot | None:
    folds = [fold for fold in run.folds if fold.records]
    if not folds:
        return None
    caption = f"Learning curves of {title}: training loss, and mean Dice on validation patches"
    return Plot(fold_curves(folds, name=f"{identifier}-curves", title=caption), caption)


def _class_curves(run: Run, identifier: str, title: str) -> list[Plot]:
    plots = []
    for fold in run.folds:
        if fold.records:
            caption = f"{title}, fold {fold.name}: Dice of classes on validation patches, and learning rate"
            plots.append(Plot(_fold_plot(fold, f"{identifier}-fold-{fold.name}", caption), caption))
    return plots


def _fold_plot(fold: TrainedFold, name: str, caption: str) -> str:
    return class_curves(fold, name=name, title=caption)


def _volumes(cases: Sequence[ValidatedCase], summary: Summary, *, name: str, title: str, flat: bool) -> Plot:
    classes = worst_classes(summary, MOST_VOLUME_PLOTS)
    what = "Areas" if flat else "Volumes"
    caption = f"{what} in {title}: prediction over reference, one point for each case, with the line of equality"
    if len(classes) < len(summary.classes):
        caption += f"; the {len(classes)} worst of {len(summary.classes)} classes"
    return Plot(volume_plots(cases, classes, flat=flat, name=name, title=caption), caption)
