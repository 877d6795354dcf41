"""File endings of images, which identify image files and separate volumes from pictures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

VOLUME_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".gipl.gz", ".gipl")


PICTURE_ENDINGS = (".png", ".tiff", ".tif", ".jpeg", ".jpg", ".bmp")


IMAGE_ENDINGS = VOLUME_ENDINGS + PICTURE_ENDINGS
"""Endings that are tried if the dataset gives no file ending, longest match first."""


_UNFIT_FOR_LABELS = (".jpeg", ".jpg", ".bmp")
"""Formats that cannot store label maps: JPEG changes pixel values, BMP has no 16-bit pixels."""


def split_ending(path: Path, endings: tuple[str, ...] = IMAGE_ENDINGS) -> tuple[str, str] | None:
    """Split a file name into stem and image ending; None if the ending is not that of an image."""
    for ending in endings:
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)], ending
    return None


def image_endings(paths: Iterable[Path]) -> tuple[str, ...]:
    """Return the image endings to use in a folder: pictures in a folder with volumes are previews and are ignored."""
    has_volumes = any(split_ending(path, VOLUME_ENDINGS) and path.is_file() for path in paths)
    return VOLUME_ENDINGS if has_volumes else PICTURE_ENDINGS


def label_ending(ending: str) -> str:
    """Return the ending of label maps that belong to images with ``ending``: the same, or ``.png``."""
    return ".png" if ending in _UNFIT_FOR_LABELS else ending
