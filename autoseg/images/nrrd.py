"""Write NRRD files with exactly the geometry of another file.

The lines of the header are copied as they are. A library that parses NRRD headers would format their numbers anew.
"""

from __future__ import annotations

from pathlib import Path

import SimpleITK as sitk

_GEOMETRY = (b"space", b"space directions", b"space origin")
_LONGEST_HEADER = 1 << 16


def is_nrrd(path: Path) -> bool:
    """Return whether the name is that of an NRRD file with attached header (.nrrd)."""
    return path.name.lower().endswith(".nrrd")


def write_nrrd_like(image: sitk.Image, path: Path, like: Path) -> None:
    """Write ``image`` to ``path`` with the geometry lines of the header of ``like``.

    NRRD stores spacing and direction as one vector for each axis. Separating and recombining them changes the last
    bits.
    """
    try:
        sitk.WriteImage(image, str(path), useCompression=True)
    except RuntimeError as error:
        raise OSError(None, str(error).splitlines()[-1].strip()) from None
    header, _, data = path.read_bytes().partition(b"\n\n")
    theirs = {key: line for key, line in _fields(_header(like)) if key in _GEOMETRY}
    if len(theirs) != len(_GEOMETRY):
        return
    # In an image of several channels the channel axis has no direction ("none"). A label map has no channel axis.
    theirs[b"space directions"] = theirs[b"space directions"].replace(b" none", b"")
    lines = [theirs.get(key, line) for key, line in _fields(header)]
    path.write_bytes(b"\n".join(lines) + b"\n\n" + data)


def _header(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_LONGEST_HEADER).replace(b"\r\n", b"\n").partition(b"\n\n")[0]


def _fields(header: bytes) -> list[tuple[bytes, bytes]]:
    return [(line.partition(b":")[0].strip(), line) for line in header.split(b"\n")]
