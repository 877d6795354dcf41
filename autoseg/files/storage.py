"""Write files atomically, so that no reader sees an incomplete file, and read JSON that a user may have edited."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autoseg.errors import WorkspaceError

_ADVICE = {
    errno.ENOSPC: "the disk is full; free some space and run the same command again",
    errno.EDQUOT: "the disk quota is used up; free some space and run the same command again",
    errno.EACCES: "no permission to write here; choose another folder or change its permissions",
    errno.EPERM: "no permission to write here; choose another folder or change its permissions",
    errno.EROFS: "this file system is read-only; choose another folder",
    errno.ENOTDIR: "a part of this path is a file; choose another folder",
    errno.EEXIST: "a file of this name exists; choose another folder",
}

STALE = 3600.0
"""Seconds without a write after which an unfinished file counts as abandoned: writing a case never takes so long."""


def storage_error(path: Path, error: OSError) -> WorkspaceError:
    """Turn a failed write into a one-line error with the path and advice."""
    reason = error.strerror or str(error)
    return WorkspaceError(f"{path}: cannot be written ({reason}): {_advice(error)}")


def explain(error: OSError) -> str:
    """Describe in one line the error of a file or folder, with advice."""
    return f"{error.filename or 'a file'}: {error.strerror or error}: {_advice(error)}"


def _advice(error: OSError) -> str:
    return _ADVICE.get(error.errno or 0, "check the folder and run the same command again")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to ``path``; rename it to ``path`` after the block, or remove it after an error.

    The temporary name has the same ending, because some writers choose the format by it. Missing folders are created.
    """
    temporary = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except WorkspaceError:
        raise
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        # An interrupt can occur at any time; it must not leave an unfinished file.
        with _ignore_os_errors():
            temporary.unlink(missing_ok=True)


def remove_partial(folder: Path, *, older_than: float = STALE) -> None:
    """Remove the unfinished files that a killed process left in a folder.

    Only files without a write for ``older_than`` seconds are removed: a process on another machine may still write.
    """
    for path in folder.glob(".partial-*"):
        with _ignore_os_errors():
            if path.is_file() and time.time() - path.stat().st_mtime > older_than:
                path.unlink()


@contextmanager
def _ignore_os_errors() -> Iterator[None]:
    try:
        yield
    except OSError:
        return


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write strict JSON (no NaN) atomically, with lists of numbers on one line for readability."""
    write_text(path, format_json(value) + "\n")


def format_json(value: Any, indent: int = 0, width: int = 110) -> str:
    """Format JSON; values that fit on one line stay on one line, so that shapes and spacings are readable."""
    line = json.dumps(value, allow_nan=False, ensure_ascii=False)
    if len(line) + indent <= width or not isinstance(value, dict | list):
        return line
    pad = " " * (indent + 2)
    if isinstance(value, dict):
        items = [f"{pad}{json.dumps(str(k))}: {format_json(v, indent + 2, width)}" for k, v in value.items()]
        return "{\n" + ",\n".join(items) + "\n" + " " * indent + "}"
    items = [pad + format_json(v, indent + 2, width) for v in value]
    return "[\n" + ",\n".join(items) + "\n" + " " * indent + "]"


def read_json(path: Path) -> Any:
    """Read a JSON file; raise :class:`WorkspaceError` with the line and column of a syntax error."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WorkspaceError(f"{path}: no such file") from None
    except json.JSONDecodeError as error:
        raise WorkspaceError(
            f"{path}: not valid JSON at line {error.lineno}, column {error.colno}: {error.msg}; fix or remove the file"
        ) from None
    except UnicodeDecodeError:
        raise WorkspaceError(f"{path}: not a text file, expected JSON in UTF-8") from None
    except OSError as error:
        raise WorkspaceError(f"{path}: cannot be read ({error.strerror})") from None
    except (RecursionError, ValueError):
        # The file has thousands of nested brackets, or a number with thousands of digits.
        raise WorkspaceError(f"{path}: nested too deeply or with too long a number; fix or remove the file") from None
