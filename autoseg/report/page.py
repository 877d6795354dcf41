"""The report of a workspace: one HTML file, report.html, that needs no other files."""

from __future__ import annotations

from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from autoseg.files.storage import write_text
from autoseg.files.templates import render
from autoseg.report.choice_section import choice_section
from autoseg.report.data_section import data_facts, data_tables, is_flat
from autoseg.report.plan_section import plan_facts, plan_table
from autoseg.report.results_section import run_section
from autoseg.report.trained import find_runs
from autoseg.workspace.paths import Workspace

_PACKAGE = "autoseg.report"
_MOST_WARNINGS = 30


def write_report(workspace: Workspace | Path | str, target: Path | None = None) -> Path:
    """Write the report of a workspace, by default to its report.html, and return the path.

    The report shows all parts that exist; before training, these are data and plan. The same workspace gives the same
    bytes. Raises :class:`autoseg.errors.WorkspaceError` if there is no plan yet, or if a file of the workspace is
    damaged.
    """
    place = workspace if isinstance(workspace, Workspace) else Workspace(Path(workspace))
    path = target or place.report_file
    write_text(path, report_page(place))
    return path


def report_page(workspace: Workspace) -> str:
    """Return the report of a workspace as HTML."""
    dataset, plan = workspace.dataset(), workspace.plan()
    fingerprint = workspace.fingerprint() if workspace.fingerprint_file.exists() else None
    folds = workspace.splits() if workspace.splits_file.exists() else []
    flat = is_flat(fingerprint)
    runs = find_runs(workspace, plan)
    return render(
        _PACKAGE,
        "report.html.j2",
        styles=(files(_PACKAGE) / "report.css").read_text(encoding="utf-8"),
        version=version("autoseg"),
        dataset_name=dataset.name,
        data_facts=data_facts(dataset, folds),
        data_tables=data_tables(dataset, fingerprint) if fingerprint and fingerprint.cases else [],
        warnings=fingerprint.warnings if fingerprint else (),
        most_warnings=_MOST_WARNINGS,
        plan_facts=plan_facts(plan),
        plan_table=plan_table(plan),
        decisions=plan.explanation,
        choice=choice_section(workspace),
        runs=[run_section(run, dataset, index=index, flat=flat) for index, run in enumerate(runs)],
    )
