"""TIFF files of 2D images with any number of channels, wherever these are stored: as samples, planes or pages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from autoseg.errors import ImageError

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPageSeries

_CHANNEL_AXES = frozenset("CSQI")
"""Names of axes that may be channels: channels, samples, and pages that nobody named."""
_BY_ITK = (1, 3, 4)
"""Numbers of samples that ITK reads from a pixel; of others it reads the first alone."""
_ALPHA = (1, 2)
"""Kinds of extra samples that are opacity."""


def is_tiff(path: Path) -> bool:
    """Tell by the name whether a file is a TIFF."""
    return path.name.lower().endswith((".tif", ".tiff"))


def read_tiff(path: Path, *, palette: bool = False) -> tuple[np.ndarray, bool]:
    """Read a TIFF as [Y,X,S] and tell whether the last sample is opacity.

    With ``palette`` the numbers of a palette's colours are what is wanted; otherwise they are an :class:`ImageError`,
    as is a stack of slices.
    """
    with _opened(path) as file:
        series = file.series[0]
        order, page = _order(path, series), series.keyframe
        if page.colormap is not None and not palette:
            raise ImageError(f"{path}: found colours by a palette, expected grey, RGB or channels; convert it")
        has_alpha = bool(page.extrasamples) and page.extrasamples[-1] in _ALPHA
        array = _pixels(path, series)
    array = array.transpose(order)
    return array if array.ndim == 3 else array[..., None], has_alpha


def tiff_size(path: Path) -> tuple[int, int]:
    """Return height and width of a TIFF, from its header alone."""
    with _opened(path) as file:
        series = file.series[0]
        height, width = (int(series.shape[axis]) for axis in _order(path, series)[:2])
    return height, width


@contextmanager
def _opened(path: Path) -> Iterator[TiffFile]:
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            yield file
    except ImageError:
        raise
    except (tifffile.TiffFileError, OSError, LookupError, TypeError, ValueError) as error:
        raise ImageError(f"{path}: not an image that can be read, or damaged ({error}); is the file whole?") from None


def _order(path: Path, series: TiffPageSeries) -> tuple[int, ...]:
    """Return the axes of a file's array in the order rows, columns and, where there are any, channels."""
    axes = series.axes
    others = set(axes) - {"Y", "X"}
    if not {"Y", "X"} <= set(axes) or len(others) > 1 or not others <= _CHANNEL_AXES:
        sizes = ", ".join(f"{axis} {size}" for axis, size in zip(axes, series.shape, strict=True))
        raise ImageError(
            f"{path}: found axes {sizes}, expected Y, X and at most one of channels; store slices and time frames as "
            "NIfTI, with their spacing"
        )
    return (axes.index("Y"), axes.index("X"), *(axes.index(axis) for axis in others))


def _pixels(path: Path, series: TiffPageSeries) -> np.ndarray:
    """Decode a TIFF; compressions that tifffile has no decoder for are read by ITK, where it reads all samples."""
    try:
        return np.asarray(series.asarray())
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
    page = series.keyframe
    if len(series.pages) == 1 and page.samplesperpixel in _BY_ITK and series.axes in ("YX", "YXS"):
        return read_by_itk(path)
    raise ImageError(
        f"{path}: found {page.samplesperpixel * len(series.pages)} channels in a compression that is not read for so "
        "many; store it without compression, or with deflate"
    )


def read_by_itk(path: Path) -> np.ndarray:
    """Read a picture's pixels as ITK does, [Y,X] or [Y,X,S]; raise :class:`ImageError` where it cannot."""
    from autoseg.image_files import silenced

    try:
        with silenced():
            return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(path))))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ImageError(f"{path}: truncated or damaged ({reason}); copy it again from its source") from None
