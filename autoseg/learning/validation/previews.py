"""Preview images of a fold's worst and best validation cases, which show what a Dice value means."""

from __future__ import annotations

import logging
import math

from autoseg.data.dataset import Dataset
from autoseg.errors import AutosegError
from autoseg.evaluation.summary import Summary, case_dice
from autoseg.images.volumes import read_labels, read_volume
from autoseg.workspace.paths import FoldFolder

logger = logging.getLogger("autoseg.training")

WORST, BEST = 3, 2
"""Number of worst and best cases with a preview; each takes about a second of the time budget."""


def write_previews(summary: Summary, dataset: Dataset, folder: FoldFolder) -> None:
    """Draw prediction and reference over the image for the worst and best cases, as ``previews/CASE.png``.

    If a case cannot be drawn, a warning is logged and training does not fail.
    """
    from autoseg.previews.overlay import write_overlay

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
    """Return the cases with the lowest mean Dice, then those with the highest, without duplicates."""
    scores = {name: case_dice(metrics) for name, metrics in summary.cases.items()}
    defined = sorted((name for name in scores if not math.isnan(scores[name])), key=lambda name: (scores[name], name))
    return [*defined[:WORST], *defined[WORST:][-BEST:]]
