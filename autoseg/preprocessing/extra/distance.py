"""Extra channel: distance of each voxel to a landmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoseg.data.dataset import CaseFiles
from autoseg.errors import AutosegError, ImageError, PlanError
from autoseg.files.storage import read_json
from autoseg.images.endings import IMAGE_ENDINGS
from autoseg.images.geometry import Geometry
from autoseg.preprocessing.extra import extra_channels
from autoseg.preprocessing.extra.grid import Grid
from autoseg.preprocessing.resample import resample_image
from autoseg.registry import Positive

POINTS_ENDING = ".json"


@extra_channels.register("distance")
@dataclass(frozen=True)
class Distance:
    """The Euclidean distance to the nearest point of a case, or to the nearest voxel of its mask.

    Ciller et al. 2017 use the distance to the pupil as an additional input channel of DeepMedic for eye images.
    """

    points: str | None = None
    """Sub-folder of the images' folder with one file CASE.json per case: a list of points [x, y, z] in millimetres, in
    coordinates of ITK and DICOM (x to the left, y to the back, z up), or [x, y] for two-dimensional images."""
    mask: str | None = None
    """Sub-folder with one mask CASE.nii.gz (or another format) per case, on the image's grid; the mask is non-zero."""
    signed: bool = False
    """For a mask: true makes the value inside the mask the negative distance to its border, false makes it 0."""
    scale: Positive = 100.0
    """Distance in millimetres that becomes the value 1."""

    def __post_init__(self) -> None:
        name = "extra_channels 'distance', argument"
        if (self.points is None) == (self.mask is None):
            found = "both" if self.points is not None else "none"
            raise PlanError(f"{name} 'points', 'mask': found {found}, expected the name of a folder for one of them")
        folder = self.points or self.mask or ""
        if Path(folder).name != folder or folder.startswith("."):
            raise PlanError(
                f"{name} '{'mask' if self.points is None else 'points'}': found '{folder}', expected the name of a "
                "sub-folder of the images' folder"
            )
        if self.signed and self.mask is None:
            raise PlanError(f"{name} 'signed': found true, expected false for points, which have no inside")

    @property
    def channels(self) -> int:
        """One channel: the distance."""
        return 1

    def __call__(self, grid: Grid, files: CaseFiles | None) -> np.ndarray:
        """Compute [1,Z,Y,X]."""
        if files is None:
            raise ImageError("found no file of the case, expected images in a folder; predict with predict-folder")
        found = (
            _to_points(grid, self._points(grid.preprocessing.geometry, files))
            if self.points
            else self._to_mask(grid, files)
        )
        return found[None] / np.float32(self.scale)

    def check(self, geometry: Geometry, files: CaseFiles) -> None:
        """Read the case's file."""
        if self.points:
            self._points(geometry, files)
        else:
            self._mask(geometry, files)

    def paths(self, files: CaseFiles) -> tuple[Path, ...]:
        """Return the case's file."""
        folder = files.folder / (self.points or self.mask or "")
        endings = (POINTS_ENDING,) if self.points else IMAGE_ENDINGS
        candidates = [folder / f"{files.name}{ending}" for ending in endings]
        return (next((path for path in candidates if path.exists()), candidates[0]),)

    def mirrored(self, axis: int, transpose: tuple[int, int, int]) -> tuple[int, ...]:
        """No channel: distances do not change sign."""
        return ()

    def _existing(self, files: CaseFiles) -> Path:
        (path,) = self.paths(files)
        if not path.exists():
            what = "points" if self.points else "mask"
            raise ImageError(f"{path}: no such file, expected the {what} of case '{files.name}'")
        return path

    def _points(self, geometry: Geometry, files: CaseFiles) -> np.ndarray:
        """Read points as [N,3] mm along the axes z, y, x of the file, from the centre of its first voxel."""
        path = self._existing(files)
        try:
            found = read_json(path)
        except AutosegError as error:
            raise ImageError(str(error)) from None
        size = geometry.dimension
        if not isinstance(found, list) or not found or not all(_is_point(point, size) for point in found):
            example = ", ".join("xyz"[:size])
            raise ImageError(f"{path}: found {str(found)[:60]}, expected a list of points [{example}] in millimetres")
        direction = np.array(geometry.direction).reshape(size, size)
        along = np.linalg.solve(direction, (np.array(found, dtype=np.float64) - np.array(geometry.origin)).T).T
        return np.pad(along[:, ::-1], ((0, 0), (3 - size, 0)))

    def _mask(self, geometry: Geometry, files: CaseFiles) -> np.ndarray:
        from autoseg.images.volumes import read_labels

        path = self._existing(files)
        labels, own = read_labels(path)
        differences = geometry.differences(own)
        if differences:
            raise ImageError(f"{path}: grid differs from the image: {'; '.join(differences)}; resample the mask")
        if not labels.any():
            raise ImageError(f"{path}: found an empty mask, expected at least one voxel that is not 0")
        return labels != 0

    def _to_mask(self, grid: Grid, files: CaseFiles) -> np.ndarray:
        """Compute the distance on the file's full grid, because the mask can lie outside the crop box."""
        from scipy.ndimage import distance_transform_edt

        preprocessing = grid.preprocessing
        mask, spacing = self._mask(preprocessing.geometry, files), preprocessing.geometry.spacing
        found = distance_transform_edt(~mask, sampling=spacing)
        if self.signed and not mask.all():
            found -= distance_transform_edt(mask, sampling=spacing)
        turned = np.ascontiguousarray(
            preprocessing.reorientation.apply(found[preprocessing.box.slices]), dtype=np.float32
        )
        # Distances are nearly linear; splines would overshoot at the landmark.
        return resample_image(turned[None], preprocessing.shape, order=1)[0]


def _is_point(point: object, size: int) -> bool:
    return (
        isinstance(point, list)
        and len(point) == size
        and all(isinstance(n, int | float) and not isinstance(n, bool) and np.isfinite(n) for n in point)
    )


def _to_points(grid: Grid, points: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
    """Return the distance in mm to the nearest point, [Z,Y,X] float32; exact for any spacing."""
    nearest = np.full(grid.preprocessing.shape, np.inf, dtype=np.float32)
    for point in points:
        squares = [
            grid.along((grid.millimetres(axis) - point[grid.preprocessing.transpose[axis]]) ** 2, axis)
            for axis in range(3)
        ]
        np.minimum(nearest, (squares[0] + squares[1] + squares[2]).astype(np.float32), out=nearest)
    return np.sqrt(nearest)
