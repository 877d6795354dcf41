"""Read and write images and label maps with SimpleITK; every error message is one line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import SimpleITK as sitk

from autoseg.errors import ImageError
from autoseg.files.storage import atomic_path, storage_error
from autoseg.images.endings import split_ending
from autoseg.images.files import check_file, silenced
from autoseg.images.geometry import Geometry, Volume
from autoseg.images.nifti import is_nifti, non_finite_voxels, write_nifti
from autoseg.images.nrrd import is_nrrd, write_nrrd_like
from autoseg.images.pictures import (
    check_slices,
    check_values,
    is_picture,
    read_picture,
    read_picture_labels,
    read_picture_size,
)

__all__ = [
    "Geometry",
    "Volume",
    "count_channels",
    "non_finite_count",
    "read_geometry",
    "read_labels",
    "read_volume",
    "write_labels",
    "write_volume",
]

TWO_FILE_ENDINGS = (".mhd", ".nhdr")
"""Formats with a header file that refers to a second file with the voxels."""
HARMLESS_TOLERANCE = 1e-3
"""Largest accepted difference of a label from a whole number: resampling tools write values such as 0.99999."""


def read_volume(paths: Sequence[Path], *, channels: int | None = None) -> Volume:
    """Read one file for each channel, or one file with all channels, as float32 [C,Z,Y,X].

    ``channels`` is the expected number. For pictures, it decides whether opacity is a channel and whether grey stored
    as RGB is one channel. Raises :class:`ImageError` if a file cannot be read or the channels do not share one grid.
    """
    wanted = 1 if len(paths) > 1 else channels
    arrays, geometries = zip(*(_read_channels(Path(path), wanted) for path in paths), strict=True)
    for path, geometry in zip(paths[1:], geometries[1:], strict=True):
        differences = geometries[0].differences(geometry)
        if differences:
            raise ImageError(
                f"{path}: does not lie on the grid of {Path(paths[0]).name}: {'; '.join(differences)}; "
                "resample one of them"
            )
    return Volume(arrays[0] if len(arrays) == 1 else np.concatenate(arrays), geometries[0])


def count_channels(path: Path, wanted: int) -> int:
    """Count the channels of a file, for volumes from the header; ``wanted`` is ``channels`` of :func:`read_volume`."""
    if is_picture(path):
        return len(read_picture(path, wanted)[0])
    reader = check_file(path)
    return int(reader.GetSize()[3]) if reader.GetDimension() == 4 else int(reader.GetNumberOfComponents())


def read_labels(path: Path) -> tuple[np.ndarray, Geometry]:
    """Read a label map [Z,Y,X] as the smallest integer type that can store its values.

    Floating-point files are accepted if all values are whole numbers. Raises :class:`ImageError` with the first wrong
    value if a value is not whole or below 0.
    """
    array, geometry = read_picture_labels(Path(path)) if is_picture(Path(path)) else _read_one_channel(Path(path))
    if array.dtype.kind == "f":
        _refuse_non_finite(Path(path), array)
        array = _whole_numbers(array, Path(path))
    if array.size and array.min() < 0:
        raise ImageError(f"{path}: found label {array.min()}, expected labels from 0; fix the label map")
    highest = int(array.max(initial=0))
    if highest > np.iinfo(np.int32).max:
        raise ImageError(f"{path}: found label {highest}, expected at most {np.iinfo(np.int32).max}; fix the label map")
    dtype = np.uint8 if highest <= 255 else np.uint16 if highest <= 65535 else np.int32
    return array.astype(dtype, copy=False), geometry


def read_geometry(path: Path) -> Geometry:
    """Read the geometry of an image from its header only."""
    if is_picture(Path(path)):
        return read_picture_size(Path(path))
    reader = check_file(Path(path))
    dimension = min(reader.GetDimension(), 3)
    size = reader.GetSize()[:dimension]
    spacing = reader.GetSpacing()[:dimension]
    direction = np.array(reader.GetDirection()).reshape(reader.GetDimension(), -1)[:dimension, :dimension]
    return Geometry.from_itk(size, spacing, reader.GetOrigin()[:dimension], tuple(direction.ravel()))


def non_finite_count(path: Path, array: np.ndarray) -> int:
    """Count the NaN and infinite voxels of a file; ``array`` contains the voxels read from it."""
    if is_nifti(path):
        return non_finite_voxels(path)
    return int(array.size - np.isfinite(array).sum())


def write_labels(path: Path, labels: np.ndarray, geometry: Geometry, *, like: Path | None = None) -> None:
    """Write a label map [Z,Y,X], compressed and atomically, in the format of the file's ending.

    ``like`` is the image that the label map belongs to. If both are NIfTI or both NRRD, the geometry bytes of its
    header are copied, because reading and writing them would change the last bits. Otherwise ``geometry`` is written;
    pictures store only its size.
    """
    highest = int(labels.max(initial=0))
    dtype = np.uint8 if highest <= 255 else np.uint16 if highest <= 65535 else np.int32
    _write(Path(path), labels.astype(dtype, copy=False), geometry, like)


def write_volume(path: Path, array: np.ndarray, geometry: Geometry, *, like: Path | None = None) -> None:
    """Write an image [Z,Y,X] or [C,Z,Y,X]; several channels become the components of one file."""
    _write(Path(path), array, geometry, like)


def _refuse_non_finite(path: Path, array: np.ndarray) -> None:
    bad = non_finite_count(path, array)
    if bad:
        raise ImageError(f"{path}: {bad} voxels are NaN or infinite, expected whole numbers; fix the label map")


def _read_one_channel(path: Path) -> tuple[np.ndarray, Geometry]:
    image = _read(path)
    if image.GetNumberOfComponentsPerPixel() != 1 or image.GetDimension() > 3:
        raise ImageError(f"{path}: found several channels, expected a label map with one")
    return _three_axes(sitk.GetArrayFromImage(image)), _geometry(image)


def _read_channels(path: Path, wanted: int | None) -> tuple[np.ndarray, Geometry]:
    if is_picture(path):
        return read_picture(path, wanted)
    image = _read(path)
    array = sitk.GetArrayFromImage(image)
    if array.dtype.kind == "c":
        raise ImageError(f"{path}: found complex numbers, expected one real number per voxel; store the magnitude")
    array = array.astype(np.float32, copy=False)
    if image.GetNumberOfComponentsPerPixel() > 1:
        array = np.moveaxis(array, -1, 0)
        channels = np.stack([_three_axes(channel) for channel in array])
    elif image.GetDimension() == 4:
        channels = array
    else:
        channels = _three_axes(array)[None]
    return np.ascontiguousarray(channels), _geometry(image)


def _read(path: Path) -> sitk.Image:
    check_file(path)
    try:
        with silenced():
            return sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise ImageError(
            f"{path}: cannot be read ({str(error).splitlines()[-1]}); check that the file is complete"
        ) from None


def _three_axes(array: np.ndarray) -> np.ndarray:
    return array[None] if array.ndim == 2 else array


def _geometry(image: sitk.Image) -> Geometry:
    dimension = min(image.GetDimension(), 3)
    direction = np.array(image.GetDirection()).reshape(image.GetDimension(), -1)[:dimension, :dimension]
    return Geometry.from_itk(
        image.GetSize()[:dimension],
        image.GetSpacing()[:dimension],
        image.GetOrigin()[:dimension],
        tuple(direction.ravel()),
    )


def _whole_numbers(array: np.ndarray, path: Path) -> np.ndarray:
    whole = np.round(array)
    bad = ~(np.abs(array - whole) <= HARMLESS_TOLERANCE)
    if bad.any():
        first = array[bad][0]
        raise ImageError(
            f"{path}: found label {first:g}, expected whole numbers; check that the file is a label map, and resample "
            "label maps without interpolation"
        )
    if whole.max(initial=0) > np.iinfo(np.int32).max:
        raise ImageError(f"{path}: found label {whole.max():g}, expected at most {np.iinfo(np.int32).max}")
    return whole.astype(np.int64)


def _write(path: Path, array: np.ndarray, geometry: Geometry, like: Path | None) -> None:
    split = split_ending(path)
    if split is None:
        raise ImageError(f"{path}: unknown ending, expected one such as .nii.gz, .nrrd or .mha")
    if array.shape[-3:] != geometry.size:
        raise ImageError(
            f"{path}: found an array of shape {array.shape}, expected the size {geometry.size} of its geometry"
        )
    if is_picture(path):
        check_slices(path, geometry.size[0])
        check_values(path, array)
        geometry = replace(geometry, origin=(0.0, 0.0), direction=(1.0, 0.0, 0.0, 1.0), dimension=2)
    image = _itk_image(array, geometry)
    if path.name.lower().endswith(TWO_FILE_ENDINGS):
        _write_two_files(image, path)
        return
    with atomic_path(path) as temporary, silenced():
        if is_nifti(path):
            write_nifti(image, temporary, like if like is not None and is_nifti(like) else None)
        elif like is not None and is_nrrd(path) and is_nrrd(like):
            write_nrrd_like(image, temporary, like)
        else:
            _write_itk(image, temporary)


def _write_two_files(image: sitk.Image, path: Path) -> None:
    """Write both files in a temporary folder, with their final names, because the header contains a file name."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".partial-", dir=path.parent) as folder, silenced():
            _write_itk(image, Path(folder) / path.name)
            # Move the header last, so that a visible header always has its voxels.
            for file in sorted(Path(folder).iterdir(), key=lambda file: file.name == path.name):
                file.replace(path.parent / file.name)
    except OSError as error:
        raise storage_error(path, error) from error


def _write_itk(image: sitk.Image, path: Path) -> None:
    try:
        sitk.WriteImage(image, str(path), useCompression=True)
    except RuntimeError as error:
        # ITK's message gives no cause. Opening the file raises the precise error, such as a missing permission.
        path.open("ab").close()
        raise OSError(None, str(error).splitlines()[-1].strip()) from None


def _itk_image(array: np.ndarray, geometry: Geometry) -> sitk.Image:
    has_channels = array.ndim == 4
    if has_channels:
        array = np.moveaxis(array, 0, -1)
    if geometry.dimension == 2:
        array = array[0]
    image = sitk.GetImageFromArray(array, isVector=has_channels)
    image.SetSpacing(geometry.spacing[::-1][: geometry.dimension])
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    return image
