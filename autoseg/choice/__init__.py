"""Choosing what predicts, from the cross-validation of what is trained."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from autoseg.errors import WeightsError
from autoseg.evaluation.summary import Summary, read_summary, summarize
from autoseg.inference.members import Ensemble, trained_folds
from autoseg.records import to_plain
from autoseg.storage import write_json
from autoseg.workspace import Workspace

logger = logging.getLogger("autoseg")


@dataclass(frozen=True)
class Candidate:
    """A configuration with the metrics of all the validation cases of its folds."""

    name: str
    folds: tuple[str, ...]
    summary: Summary


def cross_validation(workspace: Workspace, configuration: str, trainer: str = "supervised") -> Candidate | None:
    """Put the validation metrics of a configuration's folds together; None where no fold has any.

    Fold ``all`` validates on what it was trained on and does not count.
    """
    folds = [fold for fold in trained_folds(workspace, configuration, trainer) if fold != "all"]
    files = {fold: workspace.fold(configuration, fold, trainer).summary for fold in folds}
    measured = {fold: read_summary(path) for fold, path in files.items() if path.exists()}
    if not measured:
        return None
    cases = {name: metrics for summary in measured.values() for name, metrics in summary.cases.items()}
    return Candidate(configuration, tuple(measured), summarize(cases))


def choose(workspace: Workspace, trainer: str = "supervised") -> tuple[Ensemble, list[Candidate]]:
    """Choose the configuration with the best mean Dice in cross-validation and write ensemble.json.

    Only configurations with equally many validated folds are compared: those with the most.
    """
    found = [cross_validation(workspace, name, trainer) for name in workspace.plan().configurations]
    candidates = [candidate for candidate in found if candidate]
    if not candidates:
        raise WeightsError(
            f"{workspace.root / 'models'}: no fold is trained and validated; run 'autoseg train-fold' first"
        )
    most = max(len(candidate.folds) for candidate in candidates)
    complete = [candidate for candidate in candidates if len(candidate.folds) == most]
    # NaN, where no validation case holds a class, is neither larger nor smaller than anything.
    best = max(complete, key=lambda candidate: np.nan_to_num(candidate.summary.mean_dice, nan=-1.0))
    dice = best.summary.mean_dice
    ensemble = Ensemble((best.name,), trainer, None if np.isnan(dice) else dice)
    write_json(workspace.ensemble_file, to_plain(ensemble))
    for candidate in candidates:
        logger.info(
            "%s: mean Dice %.4f over %d folds", candidate.name, candidate.summary.mean_dice, len(candidate.folds)
        )
    logger.info("chosen: %s", best.name)
    return ensemble, candidates
