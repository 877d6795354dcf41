"""Read the headers of DICOM files."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoseg.errors import DatasetError, ImageError

PHASE_TAGS = (
    "TemporalPositionIdentifier",
    "AcquisitionNumber",
    "EchoNumbers",
    "EchoTime",
    "InversionTime",
    "DiffusionBValue",
    "FlipAngle",
    "TriggerTime",
    "NominalPercentageOfCardiacPhase",
    "ImageType",
    "AcquisitionDateTime",
    "AcquisitionTime",
    "SeriesTime",
)
"""Tags that may separate the phases, echoes or weightings of one series; the first tag that separates them is used."""

_GEOMETRY_TAGS = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness")
_SERIES_TAGS = ("SeriesInstanceUID", "SeriesDescription", "SeriesNumber")
_PIXEL_TAGS = ("Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "Modality", "SOPClassUID", "SOPInstanceUID")
_TAGS = [*_GEOMETRY_TAGS, *_SERIES_TAGS, *_PIXEL_TAGS, *PHASE_TAGS]
_PREAMBLE = 128
_NOT_IMAGES = ("SEG", "RTSTRUCT", "RTDOSE", "RTPLAN", "SR", "PR", "KO", "REG")
"""Modalities of DICOM objects that are not images."""


@dataclass(frozen=True)
class Slice:
    """One file of a series."""

    path: Path
    series: str
    """SeriesInstanceUID; after anonymization removed it, a replacement from folder, number and description."""
    instance: str
    """SOPInstanceUID, which identifies duplicate files; may be empty."""
    description: str
    number: str
    size: tuple[int, int]
    """Rows and columns."""
    samples: int
    frames: int
    position: tuple[float, ...]
    """Patient position of the first voxel, mm; empty if the file does not contain it."""
    orientation: tuple[float, ...]
    """Direction cosines of the rows and of the columns; empty if the file does not contain them."""
    spacing: tuple[float, ...]
    """Distance between rows and between columns, mm; empty if the file does not contain it."""
    thickness: float
    phase: tuple[str, ...]
    """Values of :data:`PHASE_TAGS`; an empty string for each missing tag."""


def is_dicom(path: Path) -> bool:
    """Return whether a file is DICOM, by its first bytes."""
    with path.open("rb") as file:
        return file.read(_PREAMBLE + 4)[_PREAMBLE:] == b"DICM"


def find_dicom(folder: Path) -> Iterator[Path]:
    """Yield the DICOM files of a folder and its sub-folders, sorted by path."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and is_dicom(path))


def read_slice(path: Path) -> Slice | None:
    """Read the header of a DICOM image; None for other files, such as a directory, a report or a segmentation."""
    header = read_header(path, tags=_TAGS)
    kind = header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID")
    is_whole = header.get("Rows") and header.get("Columns")
    is_listing = bool(kind) and "Directory" in kind.name
    if not is_whole and not is_listing and (not header.get("Modality") or "Image Storage" in kind.name):
        raise ImageError(f"{path}: truncated or damaged: the DICOM header ends too early; copy it again")
    if header.get("Modality") in _NOT_IMAGES or not is_whole:
        return None
    description, number = str(header.get("SeriesDescription") or ""), str(header.get("SeriesNumber") or "")
    try:
        return Slice(
            path=path,
            series=str(header.get("SeriesInstanceUID") or f"{path.parent} {number} {description}"),
            instance=str(header.get("SOPInstanceUID") or ""),
            description=description,
            number=number,
            size=(int(header.Rows), int(header.Columns)),
            samples=int(header.get("SamplesPerPixel") or 1),
            frames=int(header.get("NumberOfFrames") or 1),
            position=_numbers(header, "ImagePositionPatient", 3),
            orientation=_numbers(header, "ImageOrientationPatient", 6),
            spacing=_numbers(header, "PixelSpacing", 2),
            thickness=float(header.get("SliceThickness") or 0),
            phase=tuple(str(header.get(tag) or "") for tag in PHASE_TAGS),
        )
    except (TypeError, ValueError, AttributeError) as error:
        raise ImageError(f"{path}: the DICOM header cannot be read ({error}); export the series again") from None


def read_header(path: Path, *, tags: list[str] | None = None) -> Any:
    """Read a DICOM file without pixels as pydicom's Dataset; raise :class:`ImageError` if that fails."""
    pydicom = needed("pydicom")
    try:
        with quiet():
            return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)
    except (pydicom.errors.InvalidDicomError, OSError, EOFError, ValueError, KeyError, AttributeError) as error:
        raise ImageError(f"{path}: the DICOM header cannot be read ({error}); copy it again from its source") from None


def needed(name: str) -> Any:
    """Import a library of the extra ``dicom``; raise :class:`DatasetError` with the install command if missing."""
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise DatasetError(
            f"DICOM needs the library {name}, which is not installed; pip install autoseg[dicom]"
        ) from None


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress warnings about values that violate the DICOM standard."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _numbers(header: Any, tag: str, count: int) -> tuple[float, ...]:
    values = tuple(float(value) for value in header.get(tag) or ())
    return values if len(values) == count else ()
