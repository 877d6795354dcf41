"""What a bundle may hold, and the manifest that says what it does hold."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from autoseg.errors import AutosegError, BundleError
from autoseg.records import read_record

MANIFEST = "manifest.json"
MODEL_CARD = "MODEL_CARD.md"
BUNDLE_VERSION = 1
"""Raised when a bundle of an older version would be read wrongly."""

MOST_FILES = 1000
"""Some hundred folds and configurations; a zip of millions of empty files would fill a file system's inodes."""
MOST_TEXT_BYTES = 64 * 2**20
"""Of a file that is no weights: metrics of ten thousand cases take about 30 MB, and it is read into memory whole."""
MOST_BYTES = 64 * 2**30
"""Of all files: a thousand folds of a network of sixteen million weights."""

# Portable on every file system: no separators, no leading or trailing dots, no letters that look alike.
_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9_.+-]{0,98}[A-Za-z0-9_+])?"
_SETTINGS = re.compile(
    rf"(?:plan|dataset|ensemble|postprocessing|manifest)\.json|MODEL_CARD\.md|cross_validation/{_NAME}\.json"
)
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
    """Every file of a bundle but the manifest itself, by its path with forward slashes."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    version: int
    autoseg: str
    """The version that wrote it."""
    files: dict[str, Entry]


def most_bytes(name: str) -> int | None:
    """Return how large a file of this name may be, or None where a bundle holds no such file."""
    if _SETTINGS.fullmatch(name):
        return MOST_TEXT_BYTES
    return MOST_BYTES if _WEIGHTS.fullmatch(name) else None


def check_names(names: Iterable[str], source: Path) -> None:
    """Raise :class:`BundleError` at the first path that no bundle has, that comes twice, or that is missing."""
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
    """Read the manifest at ``path`` of the bundle ``source``, which its messages name."""
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
    """Hold the files ``found`` in a folder against the manifest; raise :class:`BundleError` at the first that differs.

    ``found`` are paths within ``folder``, the manifest's own included.
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
    """Copy a stream to ``target``, where there is one, and return its SHA-256 in hexadecimal."""
    digest = hashlib.sha256()
    while block := source.read(_COPIED_AT_ONCE):
        digest.update(block)
        if target is not None:
            target.write(block)
    return digest.hexdigest()


def _short(name: str, limit: int = 80) -> str:
    """Quote a name from a file, which may hold anything, on one line."""
    text = ascii(name)
    return text if len(text) <= limit else text[: limit - 1] + "…"
