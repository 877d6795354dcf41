"""Arrays that are too large for memory, in temporary files."""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path

import numpy as np

from autoseg.files.storage import storage_error


def mapped_array(folder: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Return a float32 array of zeros that is mapped to a temporary file in ``folder``.

    The file has no name and disappears with the array. The operating system moves pages of the array to the disk when
    memory is short. The whole space is reserved first, so that a full disk raises :class:`WorkspaceError` here instead
    of a crash during a later write.
    """
    count = np.dtype(np.float32).itemsize * math.prod(shape)
    try:
        with tempfile.TemporaryFile(prefix=".partial-", dir=folder) as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, count)
            else:
                file.truncate(count)
            return np.memmap(file, dtype=np.float32, mode="r+", shape=shape)
    except OSError as error:
        raise storage_error(folder, error) from error
