"""Open a trained model for prediction: a workspace, an unpacked bundle, or a bundle's zip file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from autoseg.errors import AutosegError, BundleError
from autoseg.files.storage import storage_error
from autoseg.workspace.bundle_archive import unpack
from autoseg.workspace.bundle_contents import MANIFEST, check_files, read_manifest
from autoseg.workspace.paths import Workspace


@contextmanager
def opened(path: Path) -> Iterator[Workspace]:
    """Yield the workspace for prediction, from a workspace, a bundle's folder or a bundle's zip.

    A zip is unpacked into a temporary folder that is removed after the block; the networks must be in memory by then.
    The checksums of a bundle are verified each time. Raises :class:`BundleError` if a bundle differs from its exported
    state. Every message names ``path``, not a temporary folder.
    """
    if not path.is_file():
        if (path / MANIFEST).exists():
            _check_folder(path)
        yield Workspace(path)
        return
    with _temporary_folder() as folder:
        place = folder / "bundle"
        try:
            unpack(path, place)
            yield Workspace(place)
        except AutosegError as error:
            raise type(error)(str(error).replace(str(place), str(path))) from None


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    try:
        temporary = TemporaryDirectory(prefix="autoseg-bundle-", ignore_cleanup_errors=True)
    except OSError as error:
        raise storage_error(Path(error.filename or "the temporary folder"), error) from error
    with temporary as name:
        yield Path(name)


def _check_folder(folder: Path) -> None:
    """Compare the folder of an unpacked bundle with its manifest; files that prediction never reads are ignored."""
    found = []
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(root, name)
            inner = path.relative_to(folder)
            if not _is_read(inner):
                continue
            if path.is_symlink():
                raise BundleError(f"{path}: found a link, expected a regular file or folder; get the bundle again")
            if path.is_file():
                found.append(inner.as_posix())
    check_files(folder, read_manifest(folder / MANIFEST, folder), folder, found)


def _is_read(inner: Path) -> bool:
    """Return whether prediction may read a path of a bundle: settings, and everything in ``models``."""
    if len(inner.parts) == 1 and inner.suffix in (".json", ".md"):
        return True
    return inner.parts[0] in ("models", "cross_validation")
