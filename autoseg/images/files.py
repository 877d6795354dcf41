"""Check an image file before its voxels are read: it exists, is complete and has the size given in its header."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import SimpleITK as sitk

from autoseg.errors import ImageError
from autoseg.images.nifti import check_spacing, is_nifti, promised_length

MOST_COMPRESSION = 1032
"""Largest compression ratio of deflate: uncompressed bytes for each compressed byte."""

_PIXEL_BYTES = {
    sitk.sitkUInt8: 1, sitk.sitkInt8: 1, sitk.sitkUInt16: 2, sitk.sitkInt16: 2, sitk.sitkUInt32: 4, sitk.sitkInt32: 4,
    sitk.sitkFloat32: 4, sitk.sitkUInt64: 8, sitk.sitkInt64: 8, sitk.sitkFloat64: 8,
    sitk.sitkVectorUInt8: 1, sitk.sitkVectorInt8: 1, sitk.sitkVectorUInt16: 2, sitk.sitkVectorInt16: 2,
    sitk.sitkVectorUInt32: 4, sitk.sitkVectorInt32: 4, sitk.sitkVectorFloat32: 4, sitk.sitkVectorFloat64: 8,
}  # fmt: skip

_COMPRESSED = (".gz", ".nrrd", ".nhdr", ".mha", ".mhd")
"""Endings of formats whose voxels may be compressed."""


def check_file(path: Path) -> sitk.ImageFileReader:
    """Return a reader with the header of an image; raise :class:`ImageError` if the header or the length is wrong.

    ITK reads a truncated .nii.gz without an error and fills the missing voxels with zeros. It also allocates any size
    that a header gives. This function rejects both kinds of files.
    """
    if not path.is_file():
        raise ImageError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}, expected an image")
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with silenced():
            reader.ReadImageInformation()
    except RuntimeError as error:
        if "orthonormal" in str(error):
            raise ImageError(
                f"{path}: found axes that are not at right angles or not finite, expected orthogonal axes; resample it"
            ) from None
        raise ImageError(f"{path}: not an image, or damaged; check it in an image viewer") from None
    _check_numbers(path, reader)
    _check_length(path, reader)
    return reader


@contextmanager
def silenced() -> Iterator[None]:
    """Suppress ITK's warnings on the terminal; all relevant problems are raised as errors."""
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)


def _check_numbers(path: Path, reader: sitk.ImageFileReader) -> None:
    if is_nifti(path):
        check_spacing(path)
    spacing = reader.GetSpacing()
    if not all(math.isfinite(s) and s > 0 for s in spacing):
        raise ImageError(f"{path}: found spacing {spacing}, expected millimetres above 0; fix the header")
    if not all(math.isfinite(n) for n in (*reader.GetOrigin(), *reader.GetDirection())):
        raise ImageError(f"{path}: found NaN or infinity in origin or direction, expected numbers; fix the header")
    if reader.GetDimension() not in (2, 3, 4) or min(reader.GetSize()) < 1:
        raise ImageError(f"{path}: found size {reader.GetSize()}, expected two or three axes, or four with channels")


def _check_length(path: Path, reader: sitk.ImageFileReader) -> None:
    """Compare the data size given by the header with the size of the file."""
    expected = promised_length(path) if is_nifti(path) else None
    if expected is None:
        voxels = math.prod(reader.GetSize()) * reader.GetNumberOfComponents()
        expected = voxels * _PIXEL_BYTES.get(reader.GetPixelID(), 1)
    size = path.stat().st_size
    name = path.name.lower()
    most = size * MOST_COMPRESSION if name.endswith(_COMPRESSED) else size
    if expected > most and not name.endswith((".nhdr", ".mhd")):
        raise ImageError(
            f"{path}: truncated or damaged: the header promises {expected:,} bytes, the file has {size:,}; "
            "copy it again from its source"
        )
    if name.endswith(".gz") and not _gzip_is_whole(path, expected):
        raise ImageError(
            f"{path}: truncated or damaged: the compressed data end too early; copy it again from its source"
        )


def _gzip_is_whole(path: Path, expected: int) -> bool:
    """Return whether a gzip file contains at least the expected number of bytes.

    The last four bytes of the file give its uncompressed length. If this length differs, the whole file is read: a
    valid file may have several gzip members or data after its voxels.
    """
    with path.open("rb") as file:
        file.seek(-4, os.SEEK_END)
        length: int = struct.unpack("<I", file.read(4))[0]
    return length == expected % 2**32 or _uncompressed_length(path) >= expected


def _uncompressed_length(path: Path) -> int:
    """Return the uncompressed bytes of a gzip file; 0 if it is damaged or truncated."""
    import gzip
    import zlib

    length = 0
    try:
        with gzip.open(path) as file:
            while block := file.read(1 << 22):
                length += len(block)
    except (EOFError, OSError, zlib.error):
        return 0
    return length
