"""Write NIfTI files with exactly the geometry of another file, and check NIfTI headers.

SimpleITK reads and writes the voxels, as for all formats. Only the header's bytes of the geometry are copied here; that
needs their offsets, and no further library that reads and writes whole files.
"""

from __future__ import annotations

import errno
import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import SimpleITK as sitk

from autoseg.errors import ImageError

HEADER_BYTES = 348
COMPRESSION = 3
"""Gzip level. Higher levels take several times as long and compress label maps only slightly more."""

_GEOMETRY = ((76, "8f"), (123, "B"), (252, "2h"), (256, "18f"))
"""Offset and format of pixdim; xyzt_units; qform and sform code; quaternion, offset and sform (nifti1.h)."""
_SIZES = (348, 540)
_DIMENSIONS, _DATATYPE, _BITS, _SPACING, _VOXEL_OFFSET = 40, 70, 72, 80, 108
_FLOATS: dict[int, np.dtype[Any]] = {16: np.dtype("f4"), 64: np.dtype("f8")}
_BLOCK = 1 << 24


def is_nifti(path: Path) -> bool:
    """Return whether the name is that of a single-file NIfTI image (.nii, .nii.gz)."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def promised_length(path: Path) -> int | None:
    """Return the uncompressed bytes of a NIfTI-1 file according to its header; None for another NIfTI version.

    The header gives the stored voxel type. ITK reports the type after scaling, if the file has scaling factors.
    """
    header = _header(path)
    return _promised(header) if _is_version_1(header) else None


def check_spacing(path: Path) -> None:
    """Raise :class:`ImageError` if a NIfTI-1 header has an invalid spacing; ITK would silently use 1 instead."""
    header = _header(path)
    if not _is_version_1(header):
        return
    order = _byte_order(header)
    spacing = struct.unpack_from(f"{order}3f", header, _SPACING)
    # Many writers store spacing 0 for an axis of one voxel, where the spacing has no meaning.
    used = [s for s, n in zip(spacing, _sizes(header), strict=False) if n > 1]
    if not all(math.isfinite(s) and s != 0 for s in used):
        raise ImageError(f"{path}: found spacing {spacing}, expected millimetres above 0; fix the header")


def write_nifti(image: sitk.Image, path: Path, like: Path | None = None) -> None:
    """Write ``image`` to ``path``, with the geometry bytes of the header of ``like`` if it is given.

    ITK writes the direction as a quaternion and reads it as a matrix, so a geometry that is read and written again
    differs in the last bits. Copied bytes prevent viewers and other tools from reporting two different grids.
    """
    plain = path.with_name(f"{path.name}.plain.nii")
    try:
        sitk.WriteImage(image, str(plain), useCompression=False)
        content = bytearray(plain.read_bytes())
    except RuntimeError as error:
        raise OSError(None, str(error).splitlines()[-1].strip()) from None
    finally:
        plain.unlink(missing_ok=True)
    _check_written(content)
    if like is not None:
        _copy_geometry(content, _header(like))
    data = gzip.compress(content, COMPRESSION, mtime=0) if path.name.lower().endswith(".gz") else bytes(content)
    path.write_bytes(data)


def non_finite_voxels(path: Path) -> int:
    """Count the NaN and infinite voxels of a NIfTI-1 file; ITK's reader silently replaces them by zeros."""
    header = _header(path)
    order = _byte_order(header)
    kind = _FLOATS.get(struct.unpack_from(f"{order}h", header, _DATATYPE)[0])
    if kind is None or not _is_version_1(header):
        return 0
    count = 0
    with _open(path) as file:
        file.read(int(struct.unpack_from(f"{order}f", header, _VOXEL_OFFSET)[0]))
        while block := file.read(_BLOCK):
            values = np.frombuffer(block[: len(block) - len(block) % kind.itemsize], kind.newbyteorder(order))
            count += int(values.size - np.isfinite(values).sum())
    return count


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb")  # type: ignore[return-value]


def _header(path: Path) -> bytes:
    try:
        with _open(path) as file:
            return file.read(HEADER_BYTES)
    except (EOFError, OSError, zlib.error) as error:
        raise ImageError(f"{path}: the header cannot be read ({error})") from None


def _byte_order(header: bytes | bytearray) -> Literal["<", ">"]:
    return "<" if struct.unpack_from("<i", header)[0] in _SIZES else ">"


def _is_version_1(header: bytes | bytearray) -> bool:
    return len(header) == HEADER_BYTES and struct.unpack_from(f"{_byte_order(header)}i", header)[0] == HEADER_BYTES


def _sizes(header: bytes | bytearray) -> tuple[int, ...]:
    axes, *sizes = struct.unpack_from(f"{_byte_order(header)}8h", header, _DIMENSIONS)
    return tuple(sizes[: max(0, axes)])


def _promised(header: bytes | bytearray) -> int:
    order = _byte_order(header)
    bits = struct.unpack_from(f"{order}h", header, _BITS)[0]
    return int(struct.unpack_from(f"{order}f", header, _VOXEL_OFFSET)[0]) + math.prod(_sizes(header)) * bits // 8


def _check_written(content: bytearray) -> None:
    """Raise OSError if a written file is too short: the NIfTI writer reports no error when the disk is full."""
    if len(content) < HEADER_BYTES or len(content) < _promised(content):
        raise OSError(errno.ENOSPC, f"only {len(content):,} bytes could be written")


def _copy_geometry(target: bytearray, source: bytes) -> None:
    """Copy the geometry fields of a header, in the byte order of the target."""
    theirs = _byte_order(source)
    if struct.unpack_from(f"{theirs}i", source)[0] != HEADER_BYTES:
        return  # NIfTI-2 stores doubles, so its fields cannot be copied; keep the geometry that ITK wrote.
    ours = _byte_order(target)
    for start, kind in _GEOMETRY:
        struct.pack_into(ours + kind, target, start, *struct.unpack_from(theirs + kind, source, start))
