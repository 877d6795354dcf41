"""Pictures: 2D images and label maps in PNG, TIFF, JPEG and BMP files, whose colours are channels.

Such files do not say how they lie in a patient, and their dots per inch are seldom meant: one pixel is one millimetre.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.dataset import PICTURE_ENDINGS
from autoseg.errors import ImageError
from autoseg.geometry import Geometry
from autoseg.tiff import is_tiff, read_by_itk, read_tiff, tiff_size

HIGHEST_VALUE = 65535
"""Pictures store 16 bits at most."""

_FORMATS = ("PNG", "JPEG", "BMP")
"""What Pillow may take a file for."""
_PNG_DEPTH = 24
"""Place of the bits of a sample in a PNG, which the kind of colours follows."""


@dataclass(frozen=True)
class Picture:
    """The pixels of a picture, [Y,X,S]; ``has_alpha`` says that the last sample is opacity."""

    array: np.ndarray
    has_alpha: bool = False


def is_picture(path: Path) -> bool:
    """Tell by the name whether a file is a picture."""
    return path.name.lower().endswith(PICTURE_ENDINGS)


def picture_geometry(height: int, width: int) -> Geometry:
    """Return the geometry of every picture of this size."""
    return Geometry((1, height, width), (1.0, 1.0, 1.0), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0), dimension=2)


def read_picture(path: Path, channels: int | None = None) -> tuple[np.ndarray, Geometry]:
    """Read a picture as float32 [C,1,Y,X].

    Opacity is left out unless ``channels`` counts it; colours that are all the same are one channel where one is
    wanted, since many programs store grey so. Raises :class:`ImageError` where the file cannot be read.
    """
    picture = _read(path)
    samples = _samples(picture, channels)
    array = np.ascontiguousarray(np.moveaxis(samples, -1, 0)[:, None], dtype=np.float32)
    return array, picture_geometry(*samples.shape[:2])


def read_picture_labels(path: Path) -> tuple[np.ndarray, Geometry]:
    """Read a label map [1,Y,X] as it is stored: with a palette, labels are the numbers of its colours."""
    if path.name.lower().endswith((".jpg", ".jpeg")):
        raise ImageError(f"{path}: JPEG changes values that it stores, expected a label map; store it as PNG")
    samples = _samples(_read(path, palette=True), 1)
    if samples.shape[-1] != 1:
        raise ImageError(
            f"{path}: found {samples.shape[-1]} colours, expected a grey picture whose values are labels; convert it"
        )
    array = samples[..., 0]
    return (array.astype(np.uint8) if array.dtype == bool else array)[None], picture_geometry(*array.shape)


def read_picture_size(path: Path) -> Geometry:
    """Read the geometry of a picture from its header alone."""
    if is_tiff(path):
        return picture_geometry(*tiff_size(path))
    with _pillow(path) as image:
        return picture_geometry(image.height, image.width)


def check_slices(path: Path, slices: int) -> None:
    """Raise :class:`ImageError` where an image of several slices is to be a picture."""
    if is_picture(path) and slices != 1:
        raise ImageError(f"{path}: found {slices} slices, expected one for a picture; choose another format: nii.gz")


def check_values(path: Path, array: np.ndarray) -> None:
    """Raise :class:`ImageError` where values cannot be stored in a picture."""
    highest = array.max(initial=0)
    if highest > HIGHEST_VALUE:
        raise ImageError(
            f"{path}: found the value {highest}, expected at most {HIGHEST_VALUE} in a picture; choose another format: "
            "nii.gz"
        )


def _samples(picture: Picture, wanted: int | None) -> np.ndarray:
    """Return those samples of a picture, [Y,X,S], that are channels."""
    array = picture.array
    if picture.has_alpha and wanted != array.shape[-1]:
        array = array[..., :-1]
    if wanted == 1 and array.shape[-1] == 3 and (array == array[..., :1]).all():
        array = array[..., :1]
    return array


def _read(path: Path, *, palette: bool = False) -> Picture:
    """Read a picture; with ``palette``, the numbers of its colours or of black and white instead of these."""
    if not path.is_file():
        raise ImageError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}, expected an image")
    if is_tiff(path):
        return Picture(*read_tiff(path, palette=palette))
    if _is_deep_colour(path):
        # Pillow has no such pixels and would take their upper eight bits.
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
    """Return the mode of Pillow's in which an image has its colours as samples."""
    palette = "RGBA" if "transparency" in image.info else "RGB"
    return {"1": "L", "P": palette, "CMYK": "RGB", "YCbCr": "RGB"}.get(image.mode, str(image.mode))


@contextmanager
def _pillow(path: Path) -> Iterator[Any]:
    """Open a picture with Pillow, which reads the header alone."""
    from PIL import Image

    if not path.is_file():
        raise ImageError(f"{path}: no such file, expected an image")
    try:
        image = Image.open(path, formats=_FORMATS)
    except Image.DecompressionBombError:
        raise ImageError(f"{path}: found more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels; cut it up") from None
    except (OSError, SyntaxError, ValueError):
        raise ImageError(f"{path}: not an image that can be read, or damaged; look at it with a viewer") from None
    with image:
        yield image


def _is_deep_colour(path: Path) -> bool:
    """Tell whether a file is a PNG with several samples of 16 bits."""
    with path.open("rb") as file:
        start = file.read(_PNG_DEPTH + 2)
    return start.startswith(b"\x89PNG") and start[_PNG_DEPTH:] in (b"\x10\x02", b"\x10\x04", b"\x10\x06")
