"""Assemble the slices of DICOM series to volumes, and reject series that form no volume.

Slices are sorted by position, never by name or number. One SeriesInstanceUID may contain several volumes: several
orientations, as in every scout, or several phases, echoes or weightings.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoseg.errors import ImageError
from autoseg.images.dicom.headers import PHASE_TAGS, Slice
from autoseg.images.geometry import Geometry, Volume

UNEVEN = 0.1
"""Largest relative difference of slice distances; rounded positions differ by less."""
TILT_PIXELS = 0.5
"""Largest in-plane shift of slices over a whole volume, in pixels."""
SKEW = 1e-3
"""Largest cosine of the angle between rows and columns; rounding stays below it."""
OVERLAP = 0.5
"""Smallest share of their extent that phases have in common; two halves of a body are not phases."""
_ROUNDED = 3
"""Decimals of direction cosines that are compared to group slices."""


@dataclass(frozen=True)
class Stack:
    """The slices of one volume, ordered along its z axis."""

    slices: tuple[Slice, ...]
    geometry: Geometry
    phase: str = ""
    """Tag and value that separate it from other volumes of its series, such as ``AcquisitionNumber 2``."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Return the files, ordered along the z axis."""
        return tuple(item.path for item in self.slices)

    @property
    def title(self) -> str:
        """Name of the series for messages, with its phase."""
        return " ".join(part for part in (series_title(self.slices[0]), self.phase) if part)


@dataclass(frozen=True)
class Unusable:
    """A series, or part of a series, that forms no volume."""

    slices: tuple[Slice, ...]
    reason: str
    """Error message, one line."""

    @property
    def title(self) -> str:
        """Name of the series for messages."""
        return series_title(self.slices[0])


def series_title(item: Slice) -> str:
    """Return the description of a slice's series, or its number if the description is empty."""
    return item.description.strip() or f"series {item.number}".strip()


def find_stacks(slices: Iterable[Slice]) -> list[Stack | Unusable]:
    """Assemble slices to all volumes they form; colour images, such as reports, are ignored."""
    found: list[Stack | Unusable] = []
    for series in _grouped((item for item in slices if item.samples == 1), lambda item: item.series).values():
        try:
            for group in _grouped(series, _plane).values():
                found += _volumes(group)
        except ImageError as error:
            found.append(Unusable(tuple(series), str(error)))
    return found


def read_stack(stack: Stack) -> Volume:
    """Read the voxels of a volume as float32 [1,Z,Y,X], with the rescale slope and intercept of each slice."""
    import SimpleITK as sitk

    from autoseg.images.files import silenced

    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(path) for path in stack.files])
    # Each PET slice has its own rescale slope, so the pixel type of the first slice must not decide.
    reader.SetOutputPixelType(sitk.sitkFloat32)
    try:
        with silenced():
            array = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ImageError(f"{stack.files[0].parent}: {stack.title}: voxels cannot be read ({reason})") from None
    return Volume(array.reshape(1, *stack.geometry.size), stack.geometry)


def _grouped(slices: Iterable[Slice], key: Callable[[Slice], Hashable]) -> dict[Hashable, list[Slice]]:
    groups: dict[Hashable, list[Slice]] = defaultdict(list)
    for item in slices:
        groups[key(item)].append(item)
    return dict(groups)


def _plane(item: Slice) -> Hashable:
    """Return the size, directions and spacing that all slices of a volume share."""
    if item.frames > 1:
        raise _refused(
            item, f"{item.path.name} contains {item.frames} frames, expected one slice per file; convert it to NIfTI"
        )
    if not (item.position and item.orientation and item.spacing):
        raise _refused(item, f"{item.path.name} has no position, orientation or spacing; convert it to NIfTI")
    directions = tuple(round(n, _ROUNDED) + 0.0 for n in item.orientation)
    return item.size, directions, tuple(round(n, _ROUNDED) for n in item.spacing)


def _volumes(group: Sequence[Slice]) -> Sequence[Stack | Unusable]:
    """Return the volume of slices with one direction, or one volume for each phase."""
    try:
        return [_stack(group)]
    except ImageError as error:
        return _phases(group) or [Unusable(tuple(group), str(error))]


def _phases(group: Sequence[Slice]) -> list[Stack]:
    """Split slices into phases by the first tag that gives complete, overlapping volumes; empty if no tag does."""
    for index, tag in enumerate(PHASE_TAGS):
        parts = _grouped(group, lambda item: item.phase[index])  # noqa: B023
        if len(parts) < 2 or min(len(part) for part in parts.values()) < 2:
            continue
        try:
            stacks = [_stack(part, f"{tag} {value}") for value, part in sorted(parts.items(), key=str)]
        except ImageError:
            continue
        if _overlap(stacks):
            return stacks
    return []


def _overlap(stacks: Sequence[Stack]) -> bool:
    """Return whether volumes of one direction cover about the same range along their normal."""
    normal = _normal(stacks[0].slices[0])
    ends = np.array([[np.dot(normal, s.slices[i].position) for i in (0, -1)] for s in stacks])
    common = ends[:, 1].min() - ends[:, 0].max()
    return bool(common >= OVERLAP * (ends[:, 1] - ends[:, 0]).max())


def _stack(slices: Sequence[Slice], phase: str = "") -> Stack:
    """Sort slices by position along their normal; raise :class:`ImageError` if they form no regular grid."""
    normal = _normal(slices[0])
    ordered = sorted(slices, key=lambda item: float(np.dot(normal, item.position)))
    first = ordered[0]
    if len(ordered) == 1:
        distance = first.thickness or 1.0
    else:
        _check_distances(ordered, normal)
        _check_tilt(ordered, normal)
        offsets = np.dot([item.position for item in (first, ordered[-1])], normal)
        distance = float(offsets[1] - offsets[0]) / (len(ordered) - 1)
    direction = np.array([first.orientation[:3], first.orientation[3:], normal]).T
    geometry = Geometry(
        size=(len(ordered), *first.size),
        spacing=(distance, first.spacing[0], first.spacing[1]),
        origin=first.position,
        direction=tuple(float(n) for n in direction.ravel()),
    )
    return Stack(tuple(ordered), geometry, phase)


def _normal(item: Slice) -> np.ndarray:
    rows, columns = np.array(item.orientation[:3]), np.array(item.orientation[3:])
    if abs(float(rows @ columns)) > SKEW or not np.allclose([rows @ rows, columns @ columns], 1, atol=1e-2):
        raise _refused(item, f"{item.path.name} has rows and columns that are not at right angles; resample it")
    normal = np.cross(rows, columns)
    return np.asarray(normal / np.linalg.norm(normal))


def _check_distances(ordered: Sequence[Slice], normal: np.ndarray) -> None:
    places = np.dot([item.position for item in ordered], normal)
    distances = np.diff(places)
    usual = float(np.median(distances))
    same = int(np.argmin(distances))
    if distances[same] <= UNEVEN * max(usual, 1e-3):
        one, other = ordered[same].path.name, ordered[same + 1].path.name
        raise _refused(
            ordered[0],
            f"{one} and {other} have the same position ({len(ordered)} slices in {len(set(places.round(2)))} places) "
            "and no tag separates phases; keep one volume per series",
        )
    worst = int(np.argmax(np.abs(distances - usual)))
    if abs(distances[worst] - usual) <= UNEVEN * usual:
        return
    between = f"between {ordered[worst].path.name} and {ordered[worst + 1].path.name}"
    missing = int(distances[worst] / usual - 0.5)
    if missing > 0 and abs(distances[worst] - (missing + 1) * usual) <= UNEVEN * usual:
        what = f"{missing} slice{'s are' if missing > 1 else ' is'} missing {between}; export the series again"
    else:
        what = f"slices are {distances[worst]:.3g} mm apart {between}, elsewhere {usual:.3g} mm; resample them evenly"
    raise _refused(ordered[0], what)


def _check_tilt(ordered: Sequence[Slice], normal: np.ndarray) -> None:
    """Raise :class:`ImageError` for slices shifted against each other (tilted gantry): the grid is not orthogonal."""
    first = np.array(ordered[0].position)
    steps = np.array([item.position for item in ordered]) - first
    shifts = np.linalg.norm(steps - np.outer(steps @ normal, normal), axis=1)
    if shifts.max() <= TILT_PIXELS * min(ordered[0].spacing):
        return
    worst = int(np.argmax(shifts))
    degrees = np.degrees(np.arctan2(shifts[worst], steps[worst] @ normal))
    raise _refused(
        ordered[0],
        f"slices are shifted against each other by up to {shifts[worst]:.1f} mm, as with a gantry tilted by "
        f"{degrees:.1f}°; resample it to a grid at right angles",
    )


def _refused(item: Slice, what: str) -> ImageError:
    return ImageError(f"{item.path.parent}: {series_title(item)}: {what}")
