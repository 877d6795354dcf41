"""Pictures of the worst and best cases of a configuration."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

from autoseg.data.dataset import Dataset
from autoseg.errors import AutosegError
from autoseg.images.volumes import read_labels, read_volume
from autoseg.previews.overlay import draw_overlay
from autoseg.report.tables import number
from autoseg.report.trained import ValidatedCase

WORST, BEST = 3, 2
"""Numbers of cases shown for each configuration."""
_COLOURS = 64
"""Number of colours in a reduced picture: enough for the grey levels of the image and the few class colours."""


@dataclass(frozen=True)
class CasePicture:
    """The picture of a case, or the reason why it is missing."""

    case: str
    caption: str
    description: str
    """Alternative text for screen readers."""
    source: str = ""
    """The picture as a data URI; empty if it is missing."""
    fault: str = ""


def case_pictures(cases: Sequence[ValidatedCase], dataset: Dataset) -> list[CasePicture]:
    """Draw the worst and the best cases; ``cases`` are sorted by Dice, the lowest first.

    If the files of a case are missing or unreadable, its picture contains the error instead, so that the rest of the
    report is still written.
    """
    defined = [case for case in cases if not math.isnan(case.dice)]
    worst = defined[:WORST]
    best = defined[len(worst) :][-BEST:]
    return [_picture(case, dataset, "worst") for case in worst] + [_picture(case, dataset, "best") for case in best]


def _picture(case: ValidatedCase, dataset: Dataset, place: str) -> CasePicture:
    caption = f"{case.name}: mean Dice {number(case.dice)}, fold {case.fold.name}, among the {place}"
    description = f"Image of {case.name} with prediction and reference of {', '.join(list(case.metrics)[:5])}"
    try:
        return CasePicture(case.name, caption, description, source=data_uri(shrunk(_drawn(case, dataset))))
    except AutosegError as error:
        return CasePicture(case.name, caption, description, fault=" ".join(str(error).split()))


def _drawn(case: ValidatedCase, dataset: Dataset) -> bytes:
    known = dataset.case(case.name)
    prediction = read_labels(case.fold.folder.validation / f"{case.name}{dataset.file_ending}")[0]
    reference = read_labels(known.label)[0] if known.label else None
    classes = dataset.annotated_classes(case.name)
    return draw_overlay(read_volume(known.images), prediction, reference, title=case.name, classes=classes)


def shrunk(png: bytes) -> bytes:
    """Return a PNG with a small palette: about a quarter of the bytes, without a visible difference."""
    from PIL import Image

    smaller = BytesIO()
    with Image.open(BytesIO(png)) as picture:
        few = picture.convert("RGB").quantize(_COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        few.save(smaller, "PNG", optimize=True)
    return smaller.getvalue()


def data_uri(png: bytes) -> str:
    """Return a PNG as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
