"""Find the cases in a folder of DICOM series: assign each series to a patient and a channel."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

from autoseg.data.dataset import CaseFiles, Dataset
from autoseg.errors import DatasetError, ImageError
from autoseg.files.storage import read_json
from autoseg.images.dicom.headers import Slice, find_dicom, read_slice
from autoseg.images.dicom.stacks import Stack, Unusable, find_stacks, read_stack
from autoseg.images.geometry import Geometry, Volume

SEGMENTATION_ENDING = ".dcm"

_UNSAFE = re.compile(r"[^\w.+@=-]+")


@dataclass(frozen=True)
class DicomCase:
    """A patient or study to predict: one volume for each channel, or the reason why it is unusable."""

    name: str
    folder: Path
    stacks: tuple[Stack, ...] = ()
    fault: str = ""
    missing_channels: tuple[int, ...] = ()
    """Numbers of the missing optional channels."""
    ending: str = SEGMENTATION_ENDING
    """Default file ending of the label map."""

    @property
    def place(self) -> Path:
        """Path for error messages about this case."""
        return self.folder

    @property
    def files(self) -> CaseFiles:
        """Location of additional files: in folders next to the case's folder."""
        return CaseFiles(self.folder.resolve().parent, self.name)

    def geometry(self) -> Geometry | None:
        """Return the geometry of the first existing channel; None if no channel exists."""
        return self.stacks[0].geometry if self.stacks else None

    def read(self, channels: Sequence[str]) -> Volume:
        """Read the existing channels of the case.

        Raises :class:`ImageError` if the case has a fault or its volumes do not share one grid.
        """
        if self.fault:
            raise ImageError(self.fault)
        first, *others = [read_stack(stack) for stack in self.stacks]
        for stack, volume in zip(self.stacks[1:], others, strict=True):
            differences = first.geometry.differences(volume.geometry)
            if differences:
                raise ImageError(
                    f"{self.folder}: {stack.title} does not lie on the grid of {self.stacks[0].title}: "
                    f"{'; '.join(differences)}; resample one of them"
                )
        if not others:
            return replace(first, missing_channels=self.missing_channels)
        arrays = [first.array, *(volume.array for volume in others)]
        return Volume(np.concatenate(arrays), first.geometry, self.missing_channels)

    def check_output(self, path: Path, geometry: Geometry) -> None:
        """Raise :class:`ImageError` where ``path`` cannot store the label map.

        A segmentation object needs a series with identifiers; a picture has one slice.
        """
        from autoseg.images.dicom.segmentation import check_identifiers
        from autoseg.images.pictures import check_slices

        check_slices(path, geometry.size[0])
        if path.name.endswith(SEGMENTATION_ENDING):
            check_identifiers(self.stacks[0])

    def write(self, path: Path, labels: np.ndarray, geometry: Geometry, dataset: Dataset) -> None:
        """Write a label map [Z,Y,X]; the ending of ``path`` selects a segmentation object or another format."""
        from autoseg.images.dicom.segmentation import write_segmentation
        from autoseg.images.volumes import write_labels

        if path.name.endswith(SEGMENTATION_ENDING):
            write_segmentation(path, labels, self.stacks[0], dataset.written_values, dataset.name)
        else:
            write_labels(path, labels, geometry)


def read_series_file(path: Path, channels: Sequence[str]) -> dict[str, str]:
    """Read the series of each channel: an object that maps channel names to patterns of the SeriesDescription.

    A pattern may also match a description followed by a phase, such as ``liver AcquisitionNumber 2``.

    Raises :class:`DatasetError` that names the wrong value.
    """
    mapping = read_json(path)
    example = ", ".join(f'"{channel}": "*{channel}*"' for channel in channels)
    if not isinstance(mapping, dict) or not all(isinstance(value, str) for value in mapping.values()):
        raise DatasetError(f"{path}: found {mapping!r}, expected patterns of series descriptions such as {{{example}}}")
    odd = [*(set(channels) - set(mapping)), *(set(mapping) - set(channels))]
    if odd:
        raise DatasetError(f"{path}: found {', '.join(mapping) or 'nothing'}, expected each of {', '.join(channels)}")
    return mapping


def find_dicom_cases(folder: Path, dataset: Dataset, series: dict[str, str] | None = None) -> list[DicomCase]:
    """List the cases of a folder of DICOM files, sorted by name.

    Each sub-folder is a patient or study. The folder itself is a patient if it directly contains files, or if it has a
    sub-folder for each channel. A case with unusable series has a ``fault`` that gives the reason.
    """
    by_patient: dict[Path, list[Path]] = defaultdict(list)
    needed = [channel for channel in dataset.channels if channel not in dataset.optional_channels]
    is_patient = _is_patient(folder, needed or dataset.channels)
    for path in find_dicom(folder):
        parts = path.relative_to(folder).parts
        by_patient[folder if is_patient or len(parts) == 1 else folder / parts[0]].append(path)
    cases = [case for patient, files in by_patient.items() for case in _cases_of(patient, files, dataset, series)]
    return _uniquely_named(sorted(cases, key=lambda case: case.name))


def _is_patient(folder: Path, channels: Sequence[str]) -> bool:
    inside = {path.name.casefold() for path in folder.iterdir() if path.is_dir()}
    return inside.issuperset(channel.casefold() for channel in channels)


def _cases_of(folder: Path, files: Sequence[Path], dataset: Dataset, series: dict[str, str] | None) -> list[DicomCase]:
    name = _safe(folder.resolve().name)
    try:
        slices = _without_copies(item for path in files if (item := read_slice(path)) is not None)
    except ImageError as error:
        return [DicomCase(name, folder, fault=str(error))]
    if not slices:
        return []
    found = find_stacks(slices)
    by_channel = _by_channel(folder, found, dataset.channels, series)
    candidates = by_channel[dataset.channels[0]]
    if len(dataset.channels) == 1 and len(candidates) > 1:
        return [_case(f"{name}_{_safe(one.title)}", folder, {one.title: [one]}, found, dataset) for one in candidates]
    return [_case(name, folder, by_channel, found, dataset)]


def _without_copies(slices: Iterable[Slice]) -> list[Slice]:
    """Remove duplicate files of one slice. The position is compared too: some tools give all slices one identifier."""
    kept: dict[tuple[str, tuple[float, ...]], Slice] = {}
    for item in slices:
        kept.setdefault((item.instance or str(item.path), item.position), item)
    return list(kept.values())


def _by_channel(
    folder: Path, found: Sequence[Stack | Unusable], channels: Sequence[str], series: dict[str, str] | None
) -> dict[str, list[Stack | Unusable]]:
    """Return the candidate volumes of each channel, by description or folder; for a single channel, all volumes."""
    if series:
        return {channel: [item for item in found if _matches(item, series[channel])] for channel in channels}
    by_folder = {channel: [item for item in found if _lies_in(item.slices[0], folder, channel)] for channel in channels}
    if len(channels) == 1 and not by_folder[channels[0]]:
        return {channels[0]: list(found)}
    return by_folder


def _matches(item: Stack | Unusable, pattern: str) -> bool:
    """Return whether a pattern matches the description of a series or the title of one of its phases."""
    names = (item.slices[0].description, item.title)
    return any(fnmatch(name.casefold(), pattern.casefold()) for name in names)


def _lies_in(item: Slice, folder: Path, name: str) -> bool:
    return name.casefold() in (part.casefold() for part in item.path.relative_to(folder).parts[:-1])


def _case(
    name: str,
    folder: Path,
    by_channel: dict[str, list[Stack | Unusable]],
    found: Sequence[Stack | Unusable],
    dataset: Dataset,
) -> DicomCase:
    """Make a case with one volume per channel; missing, ambiguous or unusable volumes give a case with a fault.

    Optional channels may be missing, but at least one channel must exist.
    """
    stacks: list[Stack] = []
    missing_channels: list[int] = []
    for number, (channel, candidates) in enumerate(by_channel.items()):
        if not candidates and channel in dataset.optional_channels and (stacks or any([*by_channel.values()][number:])):
            missing_channels.append(number)
            continue
        if len(candidates) != 1:
            which = _titles(candidates) if candidates else f"none of {_titles(found)}"
            fault = (
                f"{folder}: channel {channel}: found {which}, expected one volume, in a sub-folder '{channel}' or "
                "selected by --series"
            )
            return DicomCase(name, folder, fault=fault)
        if isinstance(candidates[0], Unusable):
            return DicomCase(name, folder, fault=candidates[0].reason)
        stacks.append(candidates[0])
    return DicomCase(name, folder, tuple(stacks), missing_channels=tuple(missing_channels))


def _titles(items: Sequence[Stack | Unusable]) -> str:
    return ", ".join(item.title for item in items) or "no series"


def _safe(text: str) -> str:
    """Turn a text into a case name that is a safe file name."""
    return _UNSAFE.sub("_", text).strip("_.+@=-") or "case"


def _uniquely_named(cases: Sequence[DicomCase]) -> list[DicomCase]:
    """Append a number to the names of cases that share a name."""
    often = Counter(case.name for case in cases)
    seen: Counter[str] = Counter()
    named = []
    for case in cases:
        seen[case.name] += 1
        named.append(replace(case, name=f"{case.name}_{seen[case.name]}") if often[case.name] > 1 else case)
    return named
