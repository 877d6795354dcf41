"""NIfTI files whose header lies exactly where another's does."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import SimpleITK as sitk

from autoseg.errors import ImageError

HEADER_BYTES = 348
COMPRESSION = 3
"""Label maps shrink hardly more at higher levels, which take several times as long."""

_GEOMETRY = ((76, "8f"), (123, "B"), (252, "2h"), (256, "18f"))
"""Offset and format of pixdim; xyzt_units; qform and sform code; quaternion, offset and sform (nifti1.h)."""
_SIZES = (348, 540)


def is_nifti(path: Path) -> bool:
    """Tell by the name whether a file is NIfTI-1 in one file."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def write_nifti_like(image: sitk.Image, path: Path, like: Path) -> None:
    """Write ``image`` to ``path`` with the geometry bytes of the header of ``like``.

    ITK stores directions as a quaternion and reads them back as a matrix; what is read from a file and written again
    differs in the last bits. Copying the bytes keeps viewers and other tools from seeing two grids.
    """
    plain = path.with_name(f"{path.name}.plain.nii")
    try:
        sitk.WriteImage(image, str(plain), useCompression=False)
        content = bytearray(plain.read_bytes())
    except RuntimeError as error:
        raise OSError(None, str(error).splitlines()[-1].strip()) from None
    finally:
        plain.unlink(missing_ok=True)
    _copy_geometry(content, _header(like))
    data = gzip.compress(content, COMPRESSION, mtime=0) if path.name.endswith(".gz") else bytes(content)
    path.write_bytes(data)


def _header(path: Path) -> bytes:
    opened = gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb")
    try:
        with opened as file:
            return file.read(HEADER_BYTES)
    except (EOFError, zlib.error) as error:
        raise ImageError(f"{path}: the header cannot be read ({error})") from None


def _copy_geometry(target: bytearray, source: bytes) -> None:
    """Copy the fields that say where the image lies, in the byte order of the target."""
    theirs = "<" if struct.unpack_from("<i", source)[0] in _SIZES else ">"
    if struct.unpack_from(f"{theirs}i", source)[0] != HEADER_BYTES:
        return  # NIfTI-2 keeps doubles, which are not copied but written by ITK.
    ours = "<" if struct.unpack_from("<i", target)[0] in _SIZES else ">"
    for start, kind in _GEOMETRY:
        struct.pack_into(ours + kind, target, start, *struct.unpack_from(theirs + kind, source, start))
