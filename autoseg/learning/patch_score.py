"""Quality of a class on parts of the validation cases."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PatchScore:
    """Dice and recall of a class on validation patches."""

    dice: float | None
    """None if neither prediction nor reference contains the class."""
    recall: float | None
    """Share of the reference's voxels that are predicted; None if the reference does not contain the class."""
