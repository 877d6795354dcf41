"""Sources of cases to predict: image files and DICOM series, with one interface for reading and writing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from autoseg.data.dataset import Case, CaseFiles, Dataset, files_of
from autoseg.data.listing import group_channels
from autoseg.data.optional_channels import channel_gaps, read_case, with_missing_channels
from autoseg.errors import DatasetError, ImageError, PlanError
from autoseg.images.endings import label_ending, split_ending
from autoseg.images.geometry import Geometry, Volume
from autoseg.images.pictures import check_slices
from autoseg.images.volumes import non_finite_count, read_geometry, write_labels

DICOM_FORMAT = "dicom-seg"
FORMATS = {
    "nii.gz": ".nii.gz",
    "nii": ".nii",
    "nrrd": ".nrrd",
    "mha": ".mha",
    "png": ".png",
    "tif": ".tif",
    DICOM_FORMAT: ".dcm",
}
"""Formats of label maps and the endings of their files."""


class Source(Protocol):
    """A case to predict."""

    @property
    def name(self) -> str:
        """Name of the case, and of its label map without ending."""

    @property
    def place(self) -> Path:
        """Path that error messages contain."""

    @property
    def ending(self) -> str:
        """Default ending of the label map: the ending of the image."""

    @property
    def files(self) -> CaseFiles:
        """Paths of further files that extra channels need."""

    def geometry(self) -> Geometry | None:
        """Return the geometry of the image from its header; None if the header cannot be read."""

    def read(self, channels: Sequence[str]) -> Volume:
        """Read those of ``channels`` that exist; raise :class:`ImageError` if they cannot be read."""

    def check_output(self, path: Path, geometry: Geometry) -> None:
        """Raise :class:`ImageError` if a label map on this grid cannot be written to ``path``."""

    def write(self, path: Path, labels: np.ndarray, geometry: Geometry, dataset: Dataset) -> None:
        """Write a label map [Z,Y,X] on the image's grid, in the format that the ending of ``path`` names."""


@dataclass(frozen=True)
class FileSource:
    """A case in image files."""

    case: Case

    @property
    def name(self) -> str:
        """Name of the case, from the names of its files."""
        return self.case.name

    @property
    def place(self) -> Path:
        """The first image file."""
        return self.case.images[0]

    @property
    def ending(self) -> str:
        """The ending of the images, if label maps can have it."""
        split = split_ending(self.place)
        return label_ending(split[1]) if split else FORMATS["nii.gz"]

    @property
    def files(self) -> CaseFiles:
        """Further files, in sub-folders of the images' folder."""
        return files_of(self.case)

    def geometry(self) -> Geometry | None:
        """Read the header of the first file."""
        try:
            return read_geometry(self.place)
        except ImageError:
            return None  # Reading the image raises the same error later, with its reason.

    def read(self, channels: Sequence[str]) -> Volume:
        """Read all channels; raise :class:`ImageError` if one cannot be read or contains NaN or infinity."""
        images = self.case.images
        missing = channel_gaps(self.case, channels)
        if missing:
            raise ImageError(f"{self.place}: {missing}")
        volume = read_case(self.case, len(channels))
        for path, array in zip(images, volume.array if len(images) > 1 else [volume.array], strict=True):
            bad = non_finite_count(path, array)
            if bad:
                raise ImageError(f"{path}: {bad} voxels are NaN or infinite; replace them by the background's value")
        return volume

    def check_output(self, path: Path, geometry: Geometry) -> None:
        """Raise :class:`ImageError` for a picture format with several slices."""
        check_slices(path, geometry.size[0])

    def write(self, path: Path, labels: np.ndarray, geometry: Geometry, dataset: Dataset) -> None:
        """Write a label map, with the header of the image if both have the same format."""
        write_labels(path, labels, geometry, like=self.place)


def find_cases(folder: Path) -> list[Case]:
    """List the cases in the image files of a folder; raise :class:`DatasetError` if there are none."""
    cases = _cases(folder)
    if not cases:
        raise DatasetError(f"{folder}: found no images, expected files like CASE_0000.nii.gz")
    return cases


def check_folder(folder: Path) -> None:
    """Raise :class:`DatasetError` if a folder contains neither image files nor DICOM files."""
    from autoseg.images.dicom.headers import find_dicom

    if not _cases(folder) and next(find_dicom(folder), None) is None:
        raise _nothing_in(folder)


def find_sources(
    folder: Path, dataset: Dataset, *, series: Path | str | None = None, label_format: str | None = None
) -> list[Source]:
    """List the cases of a folder of images or, if it contains none, of the DICOM files in its sub-folders.

    :mod:`autoseg.data.dicom_cases` describes ``series`` and the sub-folders. Raises :class:`DatasetError` if there are
    no cases, and :class:`PlanError` if their label maps cannot have the requested format.
    """
    ending_of(label_format)
    cases = _cases(folder)
    if cases:
        if series or label_format == DICOM_FORMAT:
            option = f"--series {series}" if series else f"--format {label_format}"
            raise PlanError(
                f"{option}: is for DICOM series, but {folder} contains {cases[0].images[0].name}; remove this option"
            )
        return [FileSource(with_missing_channels(case, dataset.channels, dataset.optional_channels)) for case in cases]
    from autoseg.data.dicom_cases import find_dicom_cases, read_series_file
    from autoseg.images.dicom.headers import needed

    if label_format in (None, DICOM_FORMAT):
        needed("highdicom")
    found = find_dicom_cases(folder, dataset, read_series_file(Path(series), dataset.channels) if series else None)
    if not found:
        raise _nothing_in(folder)
    return [*found]


def ending_of(label_format: str | None) -> str | None:
    """Return the file ending of a label format; raise :class:`PlanError` with all formats if it is unknown."""
    if label_format is not None and label_format not in FORMATS:
        raise PlanError(f"format: found '{label_format}', expected one of {', '.join(FORMATS)}")
    return FORMATS[label_format] if label_format else None


def _nothing_in(folder: Path) -> DatasetError:
    return DatasetError(f"{folder}: found no images, expected files like CASE_0000.nii.gz, or folders of DICOM series")


def _cases(folder: Path) -> list[Case]:
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder, expected a folder of images; check the path")
    return [Case(name, files) for name, files in sorted(group_channels(folder).items())]
