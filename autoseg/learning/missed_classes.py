"""Early warning about classes that the network never predicts correctly."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

logger = logging.getLogger("autoseg.training")

ROUNDS = 5
"""Consecutive validations without a hit before a warning: a fifth of a long training. The network often learns small
classes late, but before that point."""
MOST_NAMES = 10
"""Maximum number of class names in a message; a dataset may have a hundred classes."""


def warn_of_missed_classes(records: Sequence[Mapping[str, Any]]) -> None:
    """Warn once about each class whose recall is 0 in the last :data:`ROUNDS` validations.

    ``records`` are the lines of the metrics file, so that a resumed training does not repeat a warning.
    """
    names = newly_missed([record["class_recall"] for record in records if "class_recall" in record])
    if not names:
        return
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    logger.warning(
        "nothing found of %s%s in the last %d validations, although the patches contain voxels of it; check its label "
        'maps, or sample it more often: set the plan\'s sampling to {"name": "balanced", "fraction": 0.66, "floor": 1}',
        ", ".join(names[:MOST_NAMES]),
        more,
        ROUNDS,
    )


def newly_missed(recalls: Sequence[Mapping[str, float | None]]) -> list[str]:
    """Return the classes for which the last validation completes the first series of :data:`ROUNDS` zero recalls.

    A recall of None (no voxel of the class in the patches) neither counts nor interrupts a series.
    """
    return [name for name in (recalls[-1] if recalls else ()) if _just_missed([r.get(name) for r in recalls])]


def _just_missed(recalls: Sequence[float | None]) -> bool:
    """Return whether the last recall completes the first series of :data:`ROUNDS` zeros."""
    row, first = 0, None
    for place, recall in enumerate(recalls):
        row = row if recall is None else row + 1 if recall == 0 else 0
        if row == ROUNDS and recall == 0 and first is None:
            first = place
    return first == len(recalls) - 1
