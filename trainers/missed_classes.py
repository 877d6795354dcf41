"""Classes that a training does not find at all, told while there is still time."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

logger = logging.getLogger("autoseg.training")

ROUNDS = 5
"""Validations in a row, a fifth of a long training: small classes are often found late, but not later than the rest."""
MOST_NAMES = 10
"""Classes that are named; there may be a hundred."""


def warn_of_missed_classes(records: Sequence[Mapping[str, Any]]) -> None:
    """Warn, once of each, of classes of which nothing was found in :data:`ROUNDS` validations up to the last one.

    ``records`` are the lines of the metrics file, so that a training that is resumed does not warn again.
    """
    names = newly_missed([record["class_recall"] for record in records if "class_recall" in record])
    if not names:
        return
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    logger.warning(
        "nothing found of %s%s in the last %d validations, whose patches hold voxels of it; look at its label maps, or "
        'train on it more often: set the plan\'s sampling to {"name": "balanced", "fraction": 0.66, "floor": 1}',
        ", ".join(names[:MOST_NAMES]),
        more,
        ROUNDS,
    )


def newly_missed(recalls: Sequence[Mapping[str, float | None]]) -> list[str]:
    """Return the classes whose recall was 0 in the last validations, and was not so for as long ever before.

    A recall of None, where the patches hold no voxel of the class, neither counts nor ends a row.
    """
    return [name for name in (recalls[-1] if recalls else ()) if _just_missed([r.get(name) for r in recalls])]


def _just_missed(recalls: Sequence[float | None]) -> bool:
    """Tell whether the last of a class' recalls completes the first row of zeros that is long enough."""
    row, first = 0, None
    for place, recall in enumerate(recalls):
        row = row if recall is None else row + 1 if recall == 0 else 0
        if row == ROUNDS and recall == 0 and first is None:
            first = place
    return first == len(recalls) - 1
