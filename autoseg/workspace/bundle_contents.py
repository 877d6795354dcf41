"""Allowed files of a bundle, and the manifest that lists its files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from autoseg.errors import AutosegError, BundleError
from autoseg.files.records import read_record

MANIFEST = "manifest.json"
MODEL_CARD = "MODEL_CARD.md"
BUNDLE_VERSION = 3
"""Version of the bundle format; it increases with every incompatible change."""

MOST_FILES = 1000
"""Largest number of files, enough for hundreds of folds; millions of empty files would exhaust a file system's
inodes."""
MOST_TEXT_BYTES = 64 * 2**20
"""Largest size of a text file, which is read completely into memory; metrics of ten thousand cases need about 30 MB."""
MOST_BYTES = 64 * 2**30
"""Largest size of all files together: a thousand folds of a network with sixteen million weights."""

# Names are portable to every file system: ASCII only, no separators, no leading or trailing dots.
_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9_.+-]{0,98}[A-Za-z0-9_+])?"
_SETTINGS = re.compile(rf"(?:plan|dataset|ensemble|manifest)\.json|MODEL_CARD\.md|cross_validation/{_NAME}\.json")
_WEIGHTS = re.compile(rf"models/{_NAME}/{_NAME}/fold_(?:[0-9]{{1,4}}|all)/model\.safetensors")
_NEEDED = (MANIFEST, "plan.json", "dataset.json", "ensemble.json")
_COPIED_AT_ONCE = 2**20


@dataclass(frozen=True)
class Entry:
    """One file of a bundle."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """All files of a bundle except the manifest itself, by path with forward slashes."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    version: int
    autoseg: str
    """Version of autoseg that wrote the bundle."""
    files: dict[str, Entry]


def most_bytes(name: str) -> int | None:
    """Return the largest allowed size of a file of this name; None if a bundle must not contain it."""
    if _SETTINGS.fullmatch(name):
        return MOST_TEXT_BYTES
    return MOST_BYTES if _WEIGHTS.fullmatch(name) else None


def check_names(names: Iterable[str], source: Path) -> None:
    """Raise :class:`BundleError` for the first path that is not allowed, is a duplicate, or is missing."""
    seen: dict[str, str] = {}
    for name in names:
        if most_bytes(name) is None:
            raise BundleError(
                f"{source}: found {_short(name)}, expected nothing but plan, dataset, ensemble, post-processing, "
                "cross-validation, model card, manifest and weights; make it with 'autoseg export'"
            )
        if name.casefold() in seen:
            before = seen[name.casefold()]
            raise BundleError(f"{source}: found both {_short(before)} and {_short(name)}, expected each name once")
        seen[name.casefold()] = name
    for name in _NEEDED:
        if name not in seen.values():
            raise BundleError(f"{source}: found no {name}, expected a bundle; make it with 'autoseg export'")


def read_manifest(path: Path, source: Path) -> Manifest:
    """Read the manifest at ``path``; error messages name the bundle ``source``."""
    try:
        manifest = read_record(Manifest, path, error=BundleError)
    except AutosegError as error:
        raise BundleError(str(error).replace(str(path), f"{source}: {MANIFEST}")) from None
    if manifest.version != BUNDLE_VERSION:
        raise BundleError(
            f"{source}: {MANIFEST}: field 'version', found {manifest.version}, expected {BUNDLE_VERSION}; "
            f"it was written by autoseg {_short(manifest.autoseg)}: update autoseg or export it again"
        )
    return manifest


def check_files(folder: Path, manifest: Manifest, source: Path, found: Iterable[str]) -> None:
    """Compare the files ``found`` in a folder with the manifest; raise :class:`BundleError` for the first difference.

    ``found`` are paths relative to ``folder``, including the manifest.
    """
    present = set(found) - {MANIFEST}
    check_names([*present, MANIFEST], source)
    for name in sorted(present ^ manifest.files.keys()):
        where = f"not listed in {MANIFEST}" if name in present else f"listed in {MANIFEST} but missing"
        raise BundleError(f"{source}: {_short(name)} is {where}; get the bundle again")
    for name, entry in manifest.files.items():
        path = folder / name
        if path.stat().st_size != entry.bytes or file_digest(path) != entry.sha256:
            raise BundleError(
                f"{source}: {_short(name)} is not as it was exported (its checksum differs); get the bundle again"
            )


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return copy_and_digest(file, None)


def copy_and_digest(source: BinaryIO, target: BinaryIO | None) -> str:
    """Copy a stream to ``target``, unless it is None, and return its SHA-256 in hexadecimal."""
    digest = hashlib.sha256()
    while block := source.read(_COPIED_AT_ONCE):
        digest.update(block)
        if target is not None:
            target.write(block)
    return digest.hexdigest()


def _short(name: str, limit: int = 80) -> str:
    """Quote an untrusted name from a file on one line."""
    text = ascii(name)
    return text if len(text) <= limit else text[: limit - 1] + "…"
