"""Unpack a bundle from an untrusted zip file: everything is checked before anything is written."""

from __future__ import annotations

import os
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from autoseg.errors import AutosegError, BundleError
from autoseg.files.storage import storage_error
from autoseg.workspace.bundle_contents import (
    MANIFEST,
    MOST_BYTES,
    MOST_FILES,
    Manifest,
    check_files,
    check_names,
    copy_and_digest,
    most_bytes,
    read_manifest,
)

MOST_COMPRESSION = 200
"""Largest compression ratio of a file: metrics compress about tenfold, and deflate reaches at most 1032-fold."""
_UNSUSPICIOUS_BYTES = 2**20
"""Files up to this size may have any compression ratio, for example an almost empty list."""
_MOST_TABLE_BYTES = 2**20
"""Largest table of contents of a zip with the allowed number of files; zipfile reads it completely into memory."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 1
_DAMAGES = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, RuntimeError, OverflowError)
"""Exceptions raised when reading a damaged zip, in different versions of Python."""


def unpack(archive: Path, folder: Path) -> Manifest:
    """Unpack a bundle into the new ``folder``, which is created only if the whole bundle is valid.

    Raises :class:`BundleError` if the zip is damaged, or if it contains anything else than a bundle: other names,
    links, encryption, too many or too large files, or content that differs from its manifest.
    """
    with _staged(folder) as stage, _opened(archive) as bundle:
        members = _checked(bundle, archive)
        _check_space(stage, members, archive)
        for member in members:
            path = stage / member.filename
            path.parent.mkdir(parents=True, exist_ok=True)
            with _damage_named(archive), bundle.open(member) as packed, path.open("xb") as file:
                copy_and_digest(packed, file)  # type: ignore[arg-type]
        manifest = read_manifest(stage / MANIFEST, archive)
        check_files(stage, manifest, archive, [member.filename for member in members])
    return manifest


@contextmanager
def _staged(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder; rename it to ``folder`` after the block, or remove it after an error."""
    stage = folder.with_name(f".partial-{os.getpid()}-{folder.name}")
    try:
        stage.mkdir(parents=True)
        yield stage
        stage.rename(folder)
    except AutosegError:
        raise
    except OSError as error:
        raise storage_error(folder, error) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


@contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with archive.open("rb") as file:
            with _damage_named(archive):
                _check_table(file, archive)
                bundle = zipfile.ZipFile(file)
            yield bundle
    except OSError as error:
        if error.filename != str(archive):
            raise
        raise BundleError(f"{archive}: cannot be read ({error.strerror})") from None


@contextmanager
def _damage_named(archive: Path) -> Iterator[None]:
    """Turn every exception from reading a damaged zip into a one-line error."""
    try:
        yield
    except BundleError:
        raise
    except _DAMAGES as error:
        raise BundleError(f"{archive}: damaged or no zip file ({error}); get the bundle again") from None


def _check_table(file: BinaryIO, archive: Path) -> None:
    """Raise :class:`BundleError` for a table of contents that would fill the memory, before it is read.

    The sizes are at the end of a zip (APPNOTE.TXT 6.3, 4.3.14 to 4.3.16). Large files have a record of 56 bytes with
    64-bit sizes, then 20 bytes with the position of this record. The last 22 bytes contain the 32-bit sizes.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 98))
    tail = file.read().rjust(98, b"\0")
    large, pointer, end = tail[:56], tail[56:76], tail[76:]
    length = struct.unpack_from("<L", end, 12)[0]
    well = end.startswith(b"PK\x05\x06")
    if pointer.startswith(b"PK\x06\x07"):
        length = struct.unpack_from("<Q", large, 40)[0]
        well = well and large.startswith(b"PK\x06\x06") and struct.unpack_from("<Q", pointer, 8)[0] == size - 98
    if not well:
        raise BundleError(f"{archive}: no zip file, truncated, or with data after its end; get the bundle again")
    if length > _MOST_TABLE_BYTES:
        raise BundleError(f"{archive}: found {length} bytes of table of contents, expected at most {MOST_FILES} files")


def _checked(bundle: zipfile.ZipFile, archive: Path) -> list[zipfile.ZipInfo]:
    """Return the members of a zip if all names, kinds and sizes are those of a bundle."""
    members = bundle.infolist()
    if len(members) > MOST_FILES:
        raise BundleError(f"{archive}: found {len(members)} files, expected at most {MOST_FILES}; it is no bundle")
    # Check orig_filename, because filename is truncated at a zero byte.
    check_names([member.orig_filename for member in members], archive)
    for member in members:
        _check_member(member, archive)
    total = sum(member.file_size for member in members)
    if total > MOST_BYTES:
        raise BundleError(f"{archive}: found {total} bytes when unpacked, expected at most {MOST_BYTES}")
    return members


def _check_member(member: zipfile.ZipInfo, archive: Path) -> None:
    """Raise :class:`BundleError` unless a member is a plain file of a plausible size for its name and packed size."""
    place = f"{archive}: {member.filename}"
    if member.header_offset < 0:
        raise BundleError(f"{place}: damaged, its offset is negative; get the bundle again")
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise BundleError(f"{place}: found a link, folder or device, expected a plain file; it is no bundle")
    if member.flag_bits & _ENCRYPTED or member.compress_type not in _METHODS:
        raise BundleError(f"{place}: encrypted or packed by another method, expected stored or deflated; zip it again")
    largest = most_bytes(member.filename) or 0
    if member.file_size > largest:
        raise BundleError(f"{place}: found {member.file_size} bytes when unpacked, expected at most {largest}")
    if member.file_size > max(_UNSUSPICIOUS_BYTES, MOST_COMPRESSION * member.compress_size):
        raise BundleError(
            f"{place}: found {member.file_size} bytes packed in {member.compress_size}, expected at most "
            f"{MOST_COMPRESSION} times as many; it is no bundle"
        )


def _check_space(folder: Path, members: list[zipfile.ZipInfo], archive: Path) -> None:
    needed, free = sum(member.file_size for member in members), shutil.disk_usage(folder).free
    if needed > free:
        raise BundleError(
            f"{archive}: takes {needed} bytes when unpacked, found {free} free in {folder.parent}; free some space, "
            "or set TMPDIR to a folder with more"
        )
