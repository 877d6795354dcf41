"""A dataset: its cases, channels and labels, and what they mean."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from autoseg.errors import DatasetError
from autoseg.records import read_record, to_plain
from autoseg.storage import write_json

VOLUME_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".gipl.gz", ".gipl")
PICTURE_ENDINGS = (".png", ".tiff", ".tif", ".jpeg", ".jpg", ".bmp")
IMAGE_ENDINGS = VOLUME_ENDINGS + PICTURE_ENDINGS
"""Endings that are tried where a dataset does not say its own, longest match first."""
_UNFIT_FOR_LABELS = (".jpeg", ".jpg", ".bmp")
"""JPEG changes what it stores; BMP has no 16 bits."""

IGNORED = -1
"""Index of ignored voxels in preprocessed label maps and in the targets of losses."""

_SAFE_NAME = re.compile(r"[\w][\w .+@=-]*")
"""What a case may be called: its name becomes a file name."""


@dataclass(frozen=True)
class Case:
    """One subject: one file per channel, or one multi-channel file, and a label map where known."""

    name: str
    images: tuple[Path, ...]
    label: Path | None = None
    absent: tuple[int, ...] = ()
    """Numbers of the channels that it has no file of; ``images`` are those of the others."""


@dataclass(frozen=True)
class Dataset:
    """Cases, channels and labels of a dataset, whatever layout they came in."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    name: str
    channels: tuple[str, ...]
    labels: dict[str, int]
    """Value of each class in the label maps, background included; empty where ``regions`` are segmented."""
    file_ending: str
    """Of the label maps."""
    cases: tuple[Case, ...]
    groups: dict[str, str] = field(default_factory=dict)
    """Group, such as the patient, of each case; folds never split a group."""
    regions: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Classes that may overlap, each a set of label values; a network then has one sigmoid for each."""
    region_order: tuple[int, ...] = ()
    """Value that is written for each region; later regions overwrite earlier ones."""
    ignore: tuple[int, ...] = ()
    """Label values of voxels that nobody annotated: they count in no loss, no sampling and no metric."""
    annotated: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Classes that were annotated, for the cases where not all were."""
    sides: tuple[tuple[str, str], ...] = ()
    """Pairs of classes, left and right, that change places where an image is mirrored across the body."""
    one_sided: tuple[str, ...] = ()
    """Classes of one side whose counterpart is no class: images that hold them may not be mirrored across the body."""
    normalization: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Normalization of the channels, by name, for which it is not chosen by that name."""
    missing: dict[str, float] = field(default_factory=dict)
    """Normalized intensity that stands for a channel, by name, in the cases that lack it; others may not be missing."""

    extra_channels: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Channels that are computed beside those of the image, by name."""

    @property
    def values(self) -> tuple[int, ...]:
        """Label values of the foreground, ascending; preprocessed label maps hold their places in it, from 1 on."""
        listed = self.labels.values() if not self.regions else {v for region in self.regions.values() for v in region}
        return tuple(sorted(value for value in listed if value != 0))

    @property
    def classes(self) -> dict[str, tuple[int, ...]]:
        """What is segmented and measured: each class, or region, with its label values."""
        plain: dict[str, tuple[int, ...]] = {name: (value,) for name, value in self.labels.items() if value != 0}
        return self.regions or plain

    @property
    def class_indices(self) -> dict[str, tuple[int, ...]]:
        """Return each class, or region, with the indices that its values have in preprocessed label maps."""
        index = {value: number for number, value in enumerate(self.values, start=1)}
        return {name: tuple(index[value] for value in values) for name, values in self.classes.items()}

    @property
    def outputs(self) -> int:
        """Number of output channels of a network: one for each region, or the background and each class."""
        return len(self.regions) or len(self.classes) + 1

    @property
    def activation(self) -> Literal["softmax", "sigmoid"]:
        """What turns outputs into probabilities: classes exclude each other, regions may overlap."""
        return "sigmoid" if self.regions else "softmax"

    @property
    def fills(self) -> dict[int, float]:
        """Return :attr:`missing` by the number of the channel."""
        return {number: self.missing[name] for number, name in enumerate(self.channels) if name in self.missing}

    def annotated_classes(self, case: str) -> dict[str, tuple[int, ...]]:
        """Return those of the classes that were annotated in a case, which teaches and measures no others."""
        named = self.annotated.get(case, tuple(self.classes))
        return {name: values for name, values in self.classes.items() if name in named}

    def case(self, name: str) -> Case:
        """Return the case called ``name``."""
        for case in self.cases:
            if case.name == name:
                return case
        raise DatasetError(f"dataset {self.name}: no case is called '{name}'; look at the names of the image files")


def check_case_name(name: str) -> str:
    """Return ``name`` if it can safely be a file name, else raise :class:`DatasetError`."""
    if not _SAFE_NAME.fullmatch(name):
        raise DatasetError(
            f"case name '{name}': expected letters, digits and any of '_-+.@= ', a letter, digit or _ first; "
            "rename the files"
        )
    return name


def split_ending(path: Path, endings: tuple[str, ...] = IMAGE_ENDINGS) -> tuple[str, str] | None:
    """Split a file's name into stem and image ending; None if it is no image by its name."""
    for ending in endings:
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)], ending
    return None


def image_endings(paths: Iterable[Path]) -> tuple[str, ...]:
    """Return the endings of images among the files of a folder: pictures beside volumes are previews of these."""
    has_volumes = any(split_ending(path, VOLUME_ENDINGS) and path.is_file() for path in paths)
    return VOLUME_ENDINGS if has_volumes else PICTURE_ENDINGS


def label_ending(ending: str) -> str:
    """Return the ending of label maps that belong to images with ``ending``: the same, or ``.png``."""
    return ".png" if ending in _UNFIT_FOR_LABELS else ending


def source_state(case: Case) -> str:
    """Digest sizes and modification times of a case's files, to see whether they changed since they were read."""
    digest = hashlib.sha256()
    for path in (*case.images, *([case.label] if case.label else [])):
        try:
            status = path.stat()
        except OSError:
            digest.update(b"missing")
            continue
        digest.update(f"{path.name}:{status.st_size}:{status.st_mtime_ns};".encode())
    return digest.hexdigest()[:16]


def write_dataset(path: Path, dataset: Dataset) -> None:
    """Write the description of a dataset, with the places of its files."""
    write_json(path, to_plain(dataset))


def read_dataset(path: Path) -> Dataset:
    """Read a description that :func:`write_dataset` wrote."""
    dataset = read_record(Dataset, path, error=DatasetError)
    for case in dataset.cases:
        check_case_name(case.name)
    return dataset
