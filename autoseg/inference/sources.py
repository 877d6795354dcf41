"""What can be predicted: cases in image files or in DICOM series, read and written in the same way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from autoseg.dataset import Case, Dataset, label_ending, split_ending
from autoseg.dataset_listing import group_channels
from autoseg.errors import DatasetError, ImageError, PlanError
from autoseg.geometry import Geometry, Volume
from autoseg.images import non_finite_count, read_case, read_geometry, write_labels
from autoseg.missing import missing_channels, with_absent
from autoseg.pictures import check_slices
from autoseg.preprocessing.extra import CaseFiles, files_of

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
"""Formats of label maps, with the endings of their files."""


class Source(Protocol):
    """A case to predict."""

    @property
    def name(self) -> str:
        """What its label map is called."""

    @property
    def place(self) -> Path:
        """What a fault names."""

    @property
    def ending(self) -> str:
        """Ending of its label map where no format is asked for: that of the image."""

    @property
    def files(self) -> CaseFiles:
        """Where files that extra channels need lie."""

    def geometry(self) -> Geometry | None:
        """Return where the image lies, from its header alone; None where that cannot be read."""

    def read(self, channels: Sequence[str]) -> Volume:
        """Read the channels that there are of ``channels``; raise :class:`ImageError` where that fails."""

    def check_output(self, path: Path, geometry: Geometry) -> None:
        """Raise :class:`ImageError` where no label map on this grid can be written to ``path``."""

    def write(self, path: Path, labels: np.ndarray, geometry: Geometry, dataset: Dataset) -> None:
        """Write a label map [Z,Y,X] on the image's grid, in the format of the ending of ``path``."""


@dataclass(frozen=True)
class FileSource:
    """A case in image files."""

    case: Case

    @property
    def name(self) -> str:
        """What the files are called."""
        return self.case.name

    @property
    def place(self) -> Path:
        """The first file."""
        return self.case.images[0]

    @property
    def ending(self) -> str:
        """The images' own, where it suits label maps."""
        split = split_ending(self.place)
        return label_ending(split[1]) if split else FORMATS["nii.gz"]

    @property
    def files(self) -> CaseFiles:
        """In sub-folders of the images' folder."""
        return files_of(self.case)

    def geometry(self) -> Geometry | None:
        """Read the header of the first file."""
        try:
            return read_geometry(self.place)
        except ImageError:
            return None  # Reading the image will say why.

    def read(self, channels: Sequence[str]) -> Volume:
        """Read all channels; raise :class:`ImageError` where they cannot be read or hold values that are no numbers."""
        images = self.case.images
        missing = missing_channels(self.case, channels)
        if missing:
            raise ImageError(f"{self.place}: {missing}")
        volume = read_case(self.case, len(channels))
        for path, array in zip(images, volume.array if len(images) > 1 else [volume.array], strict=True):
            bad = non_finite_count(path, array)
            if bad:
                raise ImageError(f"{path}: {bad} voxels are NaN or infinite; replace them by the background's value")
        return volume

    def check_output(self, path: Path, geometry: Geometry) -> None:
        """Refuse pictures of several slices."""
        check_slices(path, geometry.size[0])

    def write(self, path: Path, labels: np.ndarray, geometry: Geometry, dataset: Dataset) -> None:
        """Write a label map, with the very header of the image where the formats are the same."""
        write_labels(path, labels, geometry, like=self.place)


def find_cases(folder: Path) -> list[Case]:
    """List the cases in the image files of a folder; raise :class:`DatasetError` where it holds none."""
    cases = _cases(folder)
    if not cases:
        raise DatasetError(f"{folder}: found no images, expected files like CASE_0000.nii.gz")
    return cases


def check_folder(folder: Path) -> None:
    """Raise :class:`DatasetError` where a folder holds neither image files nor DICOM."""
    from autoseg.dicom.headers import find_dicom

    if not _cases(folder) and next(find_dicom(folder), None) is None:
        raise _nothing_in(folder)


def find_sources(
    folder: Path, dataset: Dataset, *, series: Path | str | None = None, label_format: str | None = None
) -> list[Source]:
    """List the cases of a folder of images or, where it holds none, of the DICOM files in its sub-folders.

    ``series`` and the sub-folders as in :mod:`autoseg.dicom.cases`. Raises :class:`DatasetError` where there are no
    cases, and :class:`PlanError` where their label maps cannot have the format that is asked for.
    """
    ending_of(label_format)
    cases = _cases(folder)
    if cases:
        if series or label_format == DICOM_FORMAT:
            option = f"--series {series}" if series else f"--format {label_format}"
            raise PlanError(
                f"{option}: is for DICOM series, but {folder} holds {cases[0].images[0].name}; leave it out"
            )
        return [FileSource(with_absent(case, dataset.channels, dataset.missing)) for case in cases]
    from autoseg.dicom.cases import find_dicom_cases, read_series_file
    from autoseg.dicom.headers import needed

    if label_format in (None, DICOM_FORMAT):
        needed("highdicom")
    found = find_dicom_cases(folder, dataset, read_series_file(Path(series), dataset.channels) if series else None)
    if not found:
        raise _nothing_in(folder)
    return [*found]


def ending_of(label_format: str | None) -> str | None:
    """Return the ending of a format of label maps; raise :class:`PlanError` that lists those that there are."""
    if label_format is not None and label_format not in FORMATS:
        raise PlanError(f"format '{label_format}': expected one of {', '.join(FORMATS)}")
    return FORMATS[label_format] if label_format else None


def _nothing_in(folder: Path) -> DatasetError:
    return DatasetError(f"{folder}: found no images, expected files like CASE_0000.nii.gz, or folders of DICOM series")


def _cases(folder: Path) -> list[Case]:
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder, expected a folder of images")
    return [Case(name, files) for name, files in sorted(group_channels(folder).items())]
