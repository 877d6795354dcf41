"""Read TIFF files of 2D images with any number of channels, stored as samples, planes or pages."""

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
"""Axis codes of tifffile that may be channels: channels, samples, and unnamed page axes."""
_BY_ITK = (1, 3, 4)
"""Samples per pixel that ITK reads completely; of other numbers it reads only the first sample."""
_ALPHA = (1, 2)
"""TIFF codes of extra samples that are opacity."""


def is_tiff(path: Path) -> bool:
    """Return whether the name is that of a TIFF file."""
    return path.name.lower().endswith((".tif", ".tiff"))


def read_tiff(path: Path, *, palette: bool = False) -> tuple[np.ndarray, bool]:
    """Read a TIFF as [Y,X,S]; also return whether the last sample is opacity.

    With ``palette``, a picture with a palette is read as palette indices. Raises :class:`ImageError` for a palette
    without ``palette``, and for a stack of slices.
    """
    with _opened(path) as file:
        series = file.series[0]
        order, page = _order(path, series), series.keyframe
        if page.colormap is not None and not palette:
            raise ImageError(f"{path}: found colours with a palette, expected grey, RGB or channels; convert it")
        has_alpha = bool(page.extrasamples) and page.extrasamples[-1] in _ALPHA
        array = _pixels(path, series)
    array = array.transpose(order)
    return array if array.ndim == 3 else array[..., None], has_alpha


def tiff_size(path: Path) -> tuple[int, int]:
    """Return height and width of a TIFF, from its header only."""
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
        raise ImageError(f"{path}: not an image, or damaged ({error}); check that the file is complete") from None


def _order(path: Path, series: TiffPageSeries) -> tuple[int, ...]:
    """Return the axes of a file's array in the order rows, columns and, if present, channels."""
    axes = series.axes
    others = set(axes) - {"Y", "X"}
    if not {"Y", "X"} <= set(axes) or len(others) > 1 or not others <= _CHANNEL_AXES:
        sizes = ", ".join(f"{axis} {size}" for axis, size in zip(axes, series.shape, strict=True))
        raise ImageError(
            f"{path}: found axes {sizes}, expected Y, X and at most one channel axis; store slices and time frames as "
            "NIfTI, with their spacing"
        )
    return (axes.index("Y"), axes.index("X"), *(axes.index(axis) for axis in others))


def _pixels(path: Path, series: TiffPageSeries) -> np.ndarray:
    """Decode a TIFF; ITK reads compressions without a decoder in tifffile, if it supports the number of samples."""
    try:
        return np.asarray(series.asarray())
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
    page = series.keyframe
    if len(series.pages) == 1 and page.samplesperpixel in _BY_ITK and series.axes in ("YX", "YXS"):
        return read_by_itk(path)
    raise ImageError(
        f"{path}: found {page.samplesperpixel * len(series.pages)} channels in a compression that is unsupported for "
        "this number; store it without compression, or with deflate"
    )


def read_by_itk(path: Path) -> np.ndarray:
    """Read the pixels of a picture with ITK, [Y,X] or [Y,X,S]; raise :class:`ImageError` if ITK fails."""
    from autoseg.images.files import silenced

    try:
        with silenced():
            return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(path))))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ImageError(f"{path}: truncated or damaged ({reason}); copy it again from its source") from None
