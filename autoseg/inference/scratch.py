"""Arrays that are too large for memory, in a file that is gone when they are."""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path

import numpy as np

from autoseg.storage import storage_error


def mapped_array(folder: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Return a float32 array of zeros that lies in a file of ``folder``, which is unlinked at once.

    The system writes its pages to the disk and drops them as memory gets short. All of its space is reserved first, so
    that a full disk is a :class:`WorkspaceError` here and not a fault while it is written to.
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
