"""What can be told of an image file before its voxels are read: whether it is there, whole, and as large as it says."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import SimpleITK as sitk

from autoseg.errors import ImageError
from autoseg.nifti import check_spacing, is_nifti, promised_length

MOST_COMPRESSION = 1032
"""Bytes that deflate can make of one at most."""

_PIXEL_BYTES = {
    sitk.sitkUInt8: 1, sitk.sitkInt8: 1, sitk.sitkUInt16: 2, sitk.sitkInt16: 2, sitk.sitkUInt32: 4, sitk.sitkInt32: 4,
    sitk.sitkFloat32: 4, sitk.sitkUInt64: 8, sitk.sitkInt64: 8, sitk.sitkFloat64: 8,
    sitk.sitkVectorUInt8: 1, sitk.sitkVectorInt8: 1, sitk.sitkVectorUInt16: 2, sitk.sitkVectorInt16: 2,
    sitk.sitkVectorUInt32: 4, sitk.sitkVectorInt32: 4, sitk.sitkVectorFloat32: 4, sitk.sitkVectorFloat64: 8,
}  # fmt: skip

_COMPRESSED = (".gz", ".nrrd", ".nhdr", ".mha", ".mhd")
"""Endings of formats whose voxels may be compressed."""


def check_file(path: Path) -> sitk.ImageFileReader:
    """Return a reader that has read the header of an image; raise :class:`ImageError` where that cannot be right.

    ITK reads a truncated .nii.gz without a word and fills the rest with zeros, and allocates what a header asks for;
    both are refused here.
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
                f"{path}: its axes are not at right angles, or not numbers; resample it to a grid that has them so"
            ) from None
        raise ImageError(f"{path}: not an image that can be read, or damaged; look at it with a viewer") from None
    _check_numbers(path, reader)
    _check_length(path, reader)
    return reader


@contextmanager
def silenced() -> Iterator[None]:
    """Keep ITK's own warnings off the terminal: what matters is raised as an error."""
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
        raise ImageError(f"{path}: found spacing {spacing}, expected millimetres above 0; mend the header")
    if not all(math.isfinite(n) for n in (*reader.GetOrigin(), *reader.GetDirection())):
        raise ImageError(f"{path}: found NaN or infinity in origin or direction, expected numbers; mend the header")
    if reader.GetDimension() not in (2, 3, 4) or min(reader.GetSize()) < 1:
        raise ImageError(f"{path}: found size {reader.GetSize()}, expected two or three axes, or four with channels")


def _check_length(path: Path, reader: sitk.ImageFileReader) -> None:
    """Compare the voxels that the header promises with the bytes that the file holds."""
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
    """Tell by the last four bytes of a gzip file, its uncompressed length; where they say another, read it through.

    Another is not wrong where a file has several parts, or something after its voxels.
    """
    with path.open("rb") as file:
        file.seek(-4, os.SEEK_END)
        length: int = struct.unpack("<I", file.read(4))[0]
    return length == expected % 2**32 or _uncompressed_length(path) >= expected


def _uncompressed_length(path: Path) -> int:
    """Bytes that a gzip file holds; 0 where it is damaged or ends too early."""
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
