"""Section of the report about the choice of configurations for prediction."""

from __future__ import annotations

from dataclasses import dataclass

from autoseg.choice.quality import Quality
from autoseg.choice.record import CrossValidation
from autoseg.choice.wording import decisions, figure, interval, shown_by_class, spread
from autoseg.errors import WorkspaceError
from autoseg.evaluation.expected_dice import LOWEST
from autoseg.files.records import read_record
from autoseg.report.quality_plot import quality_plot
from autoseg.report.reliability_plot import reliability_plot
from autoseg.report.results_section import Plot
from autoseg.report.tables import Table
from autoseg.workspace.paths import Workspace

_MOST_ROWS = 30


@dataclass(frozen=True)
class ChoiceSection:
    """The content of the section about the choice."""

    facts: dict[str, str]
    tables: tuple[Table, ...]
    plots: tuple[Plot, ...]


def choice_section(workspace: Workspace) -> ChoiceSection | None:
    """Describe what was chosen and why; None if ``autoseg choose`` has not run yet."""
    path = workspace.cross_validation_file
    if not path.exists():
        return None
    found = read_record(CrossValidation, path, error=WorkspaceError)
    plots = (_calibration(found), *([_quality(found.quality)] if found.quality else []))
    return ChoiceSection(decisions(found), (_comparison(found), _classes(found)), plots)


def _comparison(found: CrossValidation) -> Table:
    """Return a table of all compared configurations and ensembles, the best first."""
    ranked = sorted(found.results, key=lambda result: -1.0 if result.dice is None else result.dice, reverse=True)
    single = found.best_single
    rows = tuple(
        (
            result.name + (" (chosen)" if result.configurations == found.chosen else ""),
            figure(result.dice, 4),
            "" if result is single else interval(result.difference),
        )
        for result in ranked
    )
    header = ("", "Mean Dice", f"Minus {single.name}, 95 % interval")
    note = f"The best {_MOST_ROWS} of {len(rows)}." if len(rows) > _MOST_ROWS else ""
    return Table("Compared configurations and ensembles", header, rows[:_MOST_ROWS], note)


def _classes(found: CrossValidation) -> Table:
    shown = shown_by_class(found)
    rows = tuple((name, *(spread(result.classes[name]) for result in shown)) for name in found.results[0].classes)
    return Table("Dice of each class, mean ± SD", ("", *(result.name for result in shown)), rows)


def _calibration(found: CrossValidation) -> Plot:
    title = "Share of voxels that belong to a class, by predicted probability"
    measured = found.calibration.reliability
    svg = reliability_plot(measured, name="calibration", title=title, xlabel="probability", ylabel="share")
    return Plot(svg, f"{title}: held-out cases, all foreground classes, probabilities from {LOWEST:g}")


def _quality(found: Quality) -> Plot:
    title = "Measured Dice of held-out cases, by the Dice expected without a reference"
    return Plot(quality_plot(found, name="quality", title=title), title)
