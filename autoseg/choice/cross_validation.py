"""Combine the validation metrics of all folds of a configuration."""

from __future__ import annotations

from dataclasses import dataclass

from autoseg.evaluation.summary import Summary, read_summary, summarize
from autoseg.inference.ensemble import trained_folds
from autoseg.plan.schema import Plan
from autoseg.workspace.paths import Workspace


@dataclass(frozen=True)
class Candidate:
    """A configuration with the metrics of all validation cases of its folds."""

    name: str
    folds: tuple[str, ...]
    summary: Summary


def cross_validation(workspace: Workspace, configuration: str, plan: Plan | None = None) -> Candidate | None:
    """Combine the validation metrics of a configuration's folds; return None if no fold has metrics.

    Fold ``all`` is excluded, because it validates on its training cases. ``plan`` saves reading the plan.
    """
    plan = plan or workspace.plan()
    folds = [fold for fold in trained_folds(workspace, plan, configuration) if fold != "all"]
    files = {fold: workspace.fold(configuration, fold, plan).summary for fold in folds}
    measured = {fold: read_summary(path) for fold, path in files.items() if path.exists()}
    if not measured:
        return None
    cases = {name: metrics for summary in measured.values() for name, metrics in summary.cases.items()}
    return Candidate(configuration, tuple(measured), summarize(cases))
