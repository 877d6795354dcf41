"""Pictures: 2D images and label maps in PNG, TIFF, JPEG and BMP files, whose colours are channels.

These files contain no position in the patient, and their resolution (dots per inch) is rarely reliable. Therefore one
pixel counts as one millimetre.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.errors import ImageError
from autoseg.images.endings import PICTURE_ENDINGS
from autoseg.images.geometry import Geometry
from autoseg.images.tiff import is_tiff, read_by_itk, read_tiff, tiff_size

HIGHEST_VALUE = 65535
"""Largest pixel value: pictures store at most 16 bits."""

_FORMATS = ("PNG", "JPEG", "BMP")
"""Formats that Pillow may use to open a file."""
_PNG_DEPTH = 24
"""Offset of the bits per sample in a PNG file; the next byte is the colour type."""


@dataclass(frozen=True)
class Picture:
    """The pixels of a picture, [Y,X,S]; ``has_alpha`` is true if the last sample is opacity."""

    array: np.ndarray
    has_alpha: bool = False


def is_picture(path: Path) -> bool:
    """Return whether a file name has the ending of a picture."""
    return path.name.lower().endswith(PICTURE_ENDINGS)


def picture_geometry(height: int, width: int) -> Geometry:
    """Return the geometry of a picture of this size in pixels: spacing 1 mm, origin 0."""
    return Geometry((1, height, width), (1.0, 1.0, 1.0), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0), dimension=2)


def read_picture(path: Path, channels: int | None = None) -> tuple[np.ndarray, Geometry]:
    """Read a picture as float32 [C,1,Y,X].

    Opacity is removed unless ``channels`` includes it. If ``channels`` is 1, three equal colour channels become one,
    because many programs store grey pictures as RGB. Raises :class:`ImageError` if the file cannot be read.
    """
    picture = _read(path)
    samples = _samples(picture, channels)
    array = np.ascontiguousarray(np.moveaxis(samples, -1, 0)[:, None], dtype=np.float32)
    return array, picture_geometry(*samples.shape[:2])


def read_picture_labels(path: Path) -> tuple[np.ndarray, Geometry]:
    """Read a label map [1,Y,X] as stored; in a picture with a palette, labels are the palette indices."""
    if path.name.lower().endswith((".jpg", ".jpeg")):
        raise ImageError(f"{path}: JPEG changes values that it stores, expected a label map; store it as PNG")
    samples = _samples(_read(path, palette=True), 1)
    if samples.shape[-1] != 1:
        raise ImageError(
            f"{path}: found {samples.shape[-1]} colours, expected a grey picture with label values; convert it"
        )
    array = samples[..., 0]
    return (array.astype(np.uint8) if array.dtype == bool else array)[None], picture_geometry(*array.shape)


def read_picture_size(path: Path) -> Geometry:
    """Read the geometry of a picture from its header only."""
    if is_tiff(path):
        return picture_geometry(*tiff_size(path))
    with _pillow(path) as image:
        return picture_geometry(image.height, image.width)


def check_slices(path: Path, slices: int) -> None:
    """Raise :class:`ImageError` if an image of several slices is to be written as a picture."""
    if is_picture(path) and slices != 1:
        raise ImageError(f"{path}: found {slices} slices, expected one for a picture; choose another format: nii.gz")


def check_values(path: Path, array: np.ndarray) -> None:
    """Raise :class:`ImageError` if a picture cannot store the values of ``array``."""
    highest = array.max(initial=0)
    if highest > HIGHEST_VALUE:
        raise ImageError(
            f"{path}: found the value {highest}, expected at most {HIGHEST_VALUE} in a picture; choose another format: "
            "nii.gz"
        )


def _samples(picture: Picture, wanted: int | None) -> np.ndarray:
    """Return the samples of a picture that are image channels, [Y,X,S]."""
    array = picture.array
    if picture.has_alpha and wanted != array.shape[-1]:
        array = array[..., :-1]
    if wanted == 1 and array.shape[-1] == 3 and (array == array[..., :1]).all():
        array = array[..., :1]
    return array


def _read(path: Path, *, palette: bool = False) -> Picture:
    """Read a picture; with ``palette``, return palette indices (or 0 and 1 for black and white), not colours."""
    if not path.is_file():
        raise ImageError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}, expected an image")
    if is_tiff(path):
        return Picture(*read_tiff(path, palette=palette))
    if _is_deep_colour(path):
        # Pillow does not support these pixels and would keep only their upper eight bits.
        array = read_by_itk(path)
        return Picture(array, array.shape[-1] == 4)
    with _pillow(path) as image:
        try:
            array = np.asarray(image if palette else image.convert(_plain_mode(image)))
        except (OSError, SyntaxError, ValueError) as error:
            reason = str(error).strip()
            raise ImageError(f"{path}: truncated or damaged ({reason}); copy it again from its source") from None
    return Picture(array if array.ndim == 3 else array[..., None], array.ndim == 3 and array.shape[-1] in (2, 4))


def _plain_mode(image: Any) -> str:
    """Return the Pillow mode that converts an image to plain grey or colour samples."""
    palette = "RGBA" if "transparency" in image.info else "RGB"
    return {"1": "L", "P": palette, "CMYK": "RGB", "YCbCr": "RGB"}.get(image.mode, str(image.mode))


@contextmanager
def _pillow(path: Path) -> Iterator[Any]:
    """Open a picture with Pillow, which reads only the header at first."""
    from PIL import Image

    if not path.is_file():
        raise ImageError(f"{path}: no such file, expected an image")
    try:
        image = Image.open(path, formats=_FORMATS)
    except Image.DecompressionBombError:
        raise ImageError(f"{path}: found more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels; split it") from None
    except (OSError, SyntaxError, ValueError):
        raise ImageError(f"{path}: not an image, or damaged; check it in an image viewer") from None
    with image:
        yield image


def _is_deep_colour(path: Path) -> bool:
    """Return whether a file is a PNG with several 16-bit samples per pixel."""
    with path.open("rb") as file:
        start = file.read(_PNG_DEPTH + 2)
    return start.startswith(b"\x89PNG") and start[_PNG_DEPTH:] in (b"\x10\x02", b"\x10\x04", b"\x10\x06")
