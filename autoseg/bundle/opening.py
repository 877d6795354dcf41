"""One door to what predicts: a workspace, an unpacked bundle, or the zip of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from autoseg.bundle.archive import unpack
from autoseg.bundle.contents import MANIFEST, check_files, read_manifest
from autoseg.errors import AutosegError, BundleError
from autoseg.storage import storage_error
from autoseg.workspace import Workspace


@contextmanager
def opened(path: Path) -> Iterator[Workspace]:
    """Yield the workspace that predicts, from a workspace, a bundle's folder or a bundle's zip.

    A zip is unpacked into a temporary folder, which is gone when the block ends: networks are in memory by then, so
    that nothing is left behind or grows old in a cache. Bundles are held against their checksums each time. Raises
    :class:`BundleError` where a bundle is not as it was exported; every message names ``path``, not a temporary folder.
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
    """Hold the folder of an unpacked bundle against its manifest, whatever lies beside what prediction reads."""
    found = []
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(root, name)
            inner = path.relative_to(folder)
            if not _is_read(inner):
                continue
            if path.is_symlink():
                raise BundleError(f"{path}: is a link, expected a file or folder of its own; get the bundle again")
            if path.is_file():
                found.append(inner.as_posix())
    check_files(folder, read_manifest(folder / MANIFEST, folder), folder, found)


def _is_read(inner: Path) -> bool:
    """Tell whether prediction might read a path of a bundle: its settings and everything below ``models``."""
    if len(inner.parts) == 1 and inner.suffix in (".json", ".md"):
        return True
    return inner.parts[0] in ("models", "cross_validation")
