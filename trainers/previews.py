"""Pictures of a fold's worst and best validation cases, for who wants to see what a Dice means."""

from __future__ import annotations

import logging
import math

from autoseg.dataset import Dataset
from autoseg.errors import AutosegError
from autoseg.evaluation.summary import Summary, case_dice
from autoseg.images import read_labels, read_volume
from autoseg.workspace import FoldFolder

logger = logging.getLogger("autoseg.training")

WORST, BEST = 3, 2
"""Cases that are drawn; each takes about a second, which counts against the time budget."""


def write_previews(summary: Summary, dataset: Dataset, folder: FoldFolder) -> None:
    """Draw prediction and reference over the image for the worst and best cases, as ``previews/CASE.png``.

    A case that cannot be drawn is told and left out: a picture is not worth a training.
    """
    from autoseg.report.overlay import write_overlay

    for name in chosen_cases(summary):
        case = dataset.case(name)
        try:
            write_overlay(
                folder.previews / f"{name}.png",
                read_volume(case.images),
                read_labels(folder.validation / f"{name}{dataset.file_ending}")[0],
                read_labels(case.label)[0] if case.label else None,
                title=f"{name}, mean Dice {case_dice(summary.cases[name]):.3f}",
                classes=dataset.annotated_classes(name),
            )
        except AutosegError as error:
            logger.warning("no preview of case %s: %s", name, error)


def chosen_cases(summary: Summary) -> list[str]:
    """Return the cases with the lowest mean Dice, then those with the highest; of few cases each comes once."""
    scores = {name: case_dice(metrics) for name, metrics in summary.cases.items()}
    defined = sorted((name for name in scores if not math.isnan(scores[name])), key=lambda name: (scores[name], name))
    return [*defined[:WORST], *defined[WORST:][-BEST:]]
