"""Preprocessed cases on disk: compressed arrays; reading a patch decompresses only its blocks."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import blosc2
import numpy as np

from autoseg.data.dataset import IGNORED
from autoseg.errors import WorkspaceError
from autoseg.files.records import read_record, to_plain
from autoseg.files.storage import atomic_path, write_json
from autoseg.preprocessing.case import Prepared
from autoseg.preprocessing.record import PreprocessingRecord

MOST_FOREGROUND = 10_000
"""Maximum number of coordinates stored for each class: enough for sampling, and small on disk."""
ANNOTATED = 0
"""Class number under which coordinates of annotated voxels of any class are stored."""

_BLOCK_BYTES = 128 * 1024
"""Size of the piece that is decompressed at once: about the level-2 cache of one core."""
_CHUNK_BYTES = 6 * 1024 * 1024


@dataclass(frozen=True)
class CaseRecord:
    """The record stored next to a case's arrays."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    name: str
    source: str
    """State of the files that the case was made from."""
    preprocessing: PreprocessingRecord
    class_voxels: dict[str, int]
    """Number of preprocessed voxels of each class; classes start at 1, 0 is the background."""
    missing_channels: tuple[int, ...] = ()
    """Numbers of the dataset's channels that are missing in the case; the image contains their fill values."""
    labelled: bool = True
    """Whether the case has a label map; otherwise every voxel of the stored labels is ignored."""


@dataclass(frozen=True)
class StoredCase:
    """A preprocessed case whose arrays are read from disk when they are indexed.

    ``image`` [C,Z,Y,X], ``labels`` [Z,Y,X]. ``foreground`` maps classes or regions, numbered from 1, to coordinates
    [N,3] of some of their voxels. ``annotated``: coordinates [N,3] of some of the voxels that are not ignored; None
    if no voxel is ignored. ``previous`` [Z,Y,X]: the label map of a previous stage; None without a previous stage.
    In a case without a label map, all labels are ignored; it has no coordinates, so samplers use the whole image.
    """

    record: CaseRecord
    image: Any
    labels: Any
    foreground: Mapping[int, np.ndarray]
    annotated: np.ndarray | None = None
    previous: Any | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels (z, y, x)."""
        return self.record.preprocessing.shape

    @property
    def labelled(self) -> bool:
        """Whether the case has a label map."""
        return self.record.labelled

    def decoded(self) -> StoredCase:
        """Return the case with its arrays in memory."""
        previous = None if self.previous is None else self.previous[:]
        return replace(self, image=self.image[:], labels=self.labels[:], previous=previous)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays when decoded."""
        previous = 0 if self.previous is None else self.previous.nbytes
        return int(self.image.nbytes + self.labels.nbytes + previous)


def write_case(
    folder: Path,
    name: str,
    prepared: Prepared,
    *,
    source: str,
    dtype: str,
    seed: int,
    regions: Sequence[Sequence[int]] = (),
) -> None:
    """Write a case; its record is written last, so that a case with a record is complete.

    ``regions``: the label indices of each region that foreground is sampled from; if empty, each label is a region.
    Without a label map, labels that are all ignored are stored: they take hardly any space.
    """
    stored = prepared.labels
    if stored is None:
        stored = np.full(prepared.preprocessing.shape, IGNORED, dtype=np.int8)
    blosc2.set_nthreads(1)
    _record_path(folder, name).unlink(missing_ok=True)
    image, labels, foreground = _array_paths(folder, name)
    write_array(image, prepared.image.astype(dtype, copy=False))
    write_array(labels, stored)
    coordinates, counts = _foreground(stored, regions, np.random.default_rng(seed))
    write_array(foreground, coordinates)
    record = CaseRecord(
        name, source, prepared.preprocessing, counts, prepared.missing_channels, prepared.labels is not None
    )
    write_json(_record_path(folder, name), to_plain(record))


def is_stored(folder: Path, name: str, source: str) -> bool:
    """Return whether a case is stored completely and was made from the current files."""
    path = _record_path(folder, name)
    if not all(file.exists() for file in (path, *_array_paths(folder, name))):
        return False
    try:
        return read_record(CaseRecord, path, error=WorkspaceError).source == source
    except WorkspaceError:
        return False  # An unreadable record, or a record of another version, is written again.


def read_case_record(folder: Path, name: str) -> CaseRecord:
    """Read the record stored next to a case's arrays."""
    path = _record_path(folder, name)
    if not path.exists():
        raise WorkspaceError(f"{path}: case is not preprocessed; run 'autoseg plan-and-preprocess' again")
    return read_record(CaseRecord, path, error=WorkspaceError)


def open_case(folder: Path, name: str, *, previous: Path | None = None) -> StoredCase:
    """Open a stored case without reading its voxels; ``previous`` is the folder of a previous stage's label maps."""
    path = _record_path(folder, name)
    record = read_case_record(folder, name)
    image, labels, coordinates = (_open_array(array) for array in _array_paths(folder, name))
    coordinates = coordinates[:]
    if image.shape[1:] != record.preprocessing.shape or labels.shape != record.preprocessing.shape:
        raise WorkspaceError(
            f"{path}: arrays and record of '{name}' have different shapes; remove them and preprocess again"
        )
    places = {int(c): coordinates[coordinates[:, 0] == c, 1:] for c in np.unique(coordinates[:, 0])}
    annotated = places.pop(ANNOTATED, None)
    before = None if previous is None else _open_previous(labels_path(previous, name), record)
    return StoredCase(record, image, labels, places, annotated, before)


def labels_path(folder: Path, name: str) -> Path:
    """Return the path of a previous stage's label map of a case."""
    return folder / f"{name}.b2nd"


def _open_previous(path: Path, record: CaseRecord) -> Any:
    labels = _open_array(path)
    if labels.shape != record.preprocessing.shape:
        raise WorkspaceError(f"{path}: shape differs from case '{record.name}'; remove its folder and train again")
    return labels


def _record_path(folder: Path, name: str) -> Path:
    return folder / f"{name}.json"


def _array_paths(folder: Path, name: str) -> tuple[Path, Path, Path]:
    """Return the paths of image, labels and foreground coordinates."""
    return folder / f"{name}.b2nd", folder / f"{name}_seg.b2nd", folder / f"{name}_foreground.b2nd"


def _foreground(
    labels: np.ndarray, regions: Sequence[Sequence[int]], rng: np.random.Generator
) -> tuple[np.ndarray, dict[str, int]]:
    """Draw coordinates of each class or region, as rows (class, z, y, x), and count the voxels of each.

    If some voxels are ignored, coordinates of the other voxels are added as class :data:`ANNOTATED`.
    """
    flat = np.ascontiguousarray(labels).reshape(-1)
    where = np.flatnonzero(flat > 0)
    indices = flat[where]
    known = np.flatnonzero(flat != IGNORED) if flat.min(initial=0) == IGNORED else None
    counts = {0: (flat.size if known is None else known.size) - where.size}
    rows = [np.zeros((0, 4), dtype=np.int32)]
    if known is not None:
        rows.append(_rows(ANNOTATED, known, labels.shape, rng))
    classes: Mapping[int, Sequence[int]] = dict(enumerate(regions, start=1))
    for c, members in (classes or {c: (c,) for c in np.flatnonzero(np.bincount(indices)).tolist()}).items():
        voxels = where[indices == members[0] if len(members) == 1 else np.isin(indices, members)]
        counts[c] = voxels.size
        if voxels.size:
            rows.append(_rows(c, voxels, labels.shape, rng))
    return np.concatenate(rows), {str(c): int(n) for c, n in counts.items() if n}


def _rows(number: int, voxels: np.ndarray, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return rows (number, z, y, x) for flat indices; at most :data:`MOST_FOREGROUND` random ones."""
    if voxels.size > MOST_FOREGROUND:
        voxels = np.sort(rng.choice(voxels, MOST_FOREGROUND, replace=False))
    position = np.stack(np.unravel_index(voxels, shape), axis=1)
    return np.concatenate([np.full((len(position), 1), number), position], axis=1).astype(np.int32)


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a compressed array atomically."""
    array = np.ascontiguousarray(array)
    parameters = blosc2.CParams(codec=blosc2.Codec.LZ4HC, clevel=5, nthreads=1)
    blocks, chunks = _layout(array.shape, array.itemsize)
    with atomic_path(path) as temporary, _blosc2_faults(temporary):
        if array.size:
            blosc2.asarray(array, urlpath=str(temporary), mode="w", cparams=parameters, blocks=blocks, chunks=chunks)
        else:
            blosc2.zeros(array.shape, dtype=array.dtype, urlpath=str(temporary), mode="w", cparams=parameters)


def write_rows(path: Path, rows: Iterable[np.ndarray], *, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Write a compressed array of ``shape`` atomically, one part along the first axis after the other."""
    parameters = blosc2.CParams(codec=blosc2.Codec.LZ4HC, clevel=5, nthreads=1)
    blocks, chunks = _layout(shape, dtype.itemsize)
    with atomic_path(path) as temporary, _blosc2_faults(temporary):
        stored = blosc2.empty(
            shape, dtype=dtype, urlpath=str(temporary), mode="w", cparams=parameters, blocks=blocks, chunks=chunks
        )
        for index, row in enumerate(rows):
            stored[index] = row


@contextmanager
def _blosc2_faults(path: Path) -> Iterator[None]:
    """Convert a write error of blosc2, which gives no reason, to an :class:`OSError`."""
    try:
        yield
    except RuntimeError as error:
        is_full = shutil.disk_usage(path.parent).free < _CHUNK_BYTES
        raise OSError(errno.ENOSPC if is_full else None, str(error)) from error


def read_array(path: Path) -> np.ndarray:
    """Read a whole array that :func:`write_array` wrote."""
    array: np.ndarray = _open_array(path)[:]
    return array


def _layout(shape: tuple[int, ...], itemsize: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Choose blocks and chunks: about cubic, so that a patch needs few of them, and with one channel each."""
    if len(shape) < 3:
        return shape, shape
    return _cubic(shape, _BLOCK_BYTES // itemsize), _cubic(shape, _CHUNK_BYTES // itemsize)


def _cubic(shape: tuple[int, ...], most: int) -> tuple[int, ...]:
    """Return a shape of at most ``most`` elements; its last three axes are about equal and within the array's shape."""
    sizes = [1] * (len(shape) - 3) + [1, 1, 1]
    axes = range(len(shape) - 3, len(shape))
    while True:
        growing = [axis for axis in axes if sizes[axis] < shape[axis]]
        if not growing:
            return tuple(sizes)
        axis = min(growing, key=lambda a: sizes[a])
        grown = min(sizes[axis] * 2, shape[axis])
        if np.prod([*sizes[:axis], grown, *sizes[axis + 1 :]]) > most:
            return tuple(sizes)
        sizes[axis] = grown


def _open_array(path: Path) -> Any:
    """Open an array; raise :class:`WorkspaceError` for anything else, such as a stored expression."""
    try:
        array = blosc2.open(str(path), mode="r")
    except (OSError, RuntimeError, ValueError) as error:
        raise WorkspaceError(f"{path}: cannot be read ({error}); remove it and preprocess again") from None
    if not isinstance(array, blosc2.NDArray):
        raise WorkspaceError(f"{path}: found no plain array; remove it and preprocess again")
    return array
