"""Pictures of a configuration's worst and best cases."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

from autoseg.dataset import Dataset
from autoseg.errors import AutosegError
from autoseg.images import read_labels, read_volume
from autoseg.report.overlay import draw_overlay
from autoseg.report.tables import number
from autoseg.report.trained import ValidatedCase

WORST, BEST = 3, 2
"""Cases that are shown of each configuration."""
_COLOURS = 64
"""Of a shrunken picture: the eye tells no more shades of grey beside the few colours of the classes."""


@dataclass(frozen=True)
class CasePicture:
    """A case drawn, or why it could not be."""

    case: str
    caption: str
    description: str
    """For people who cannot see it."""
    source: str = ""
    """The picture itself, as a data URI; empty where there is none."""
    fault: str = ""


def case_pictures(cases: Sequence[ValidatedCase], dataset: Dataset) -> list[CasePicture]:
    """Draw the worst and best of cases that are sorted with the lowest Dice first.

    A case whose files are gone or cannot be read is told as such: the rest of a report must not depend on it.
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
    """Return a PNG with a palette of few colours: about a quarter of the bytes, and nobody sees it."""
    from PIL import Image

    smaller = BytesIO()
    with Image.open(BytesIO(png)) as picture:
        few = picture.convert("RGB").quantize(_COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        few.save(smaller, "PNG", optimize=True)
    return smaller.getvalue()


def data_uri(png: bytes) -> str:
    """Return a PNG as an address that holds all of it."""
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
