"""A dataset: its cases, channels and labels, and the meaning of its label values."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from autoseg.errors import DatasetError
from autoseg.files.records import read_record, to_plain
from autoseg.files.storage import write_json

IGNORED = -1
"""Index of ignored voxels in preprocessed label maps and in the targets of losses."""

_SAFE_NAME = re.compile(r"[\w][\w .+@=-]*")
"""Characters allowed in a case name, because the name becomes a file name."""


@dataclass(frozen=True)
class Case:
    """One case: one image file per channel, or one multi-channel file, and a label map if it has one."""

    name: str
    images: tuple[Path, ...]
    label: Path | None = None
    """File of the label map; None if the case has no label map."""
    missing_channels: tuple[int, ...] = ()
    """Numbers of the channels without a file; ``images`` lists the files of the other channels."""


@dataclass(frozen=True)
class Dataset:
    """Cases, channels and labels of a dataset, independent of its layout on disk."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    name: str
    channels: tuple[str, ...]
    labels: dict[str, int]
    """Label value of each class, background included; empty if the dataset defines ``regions``."""
    file_ending: str
    """File ending of the label maps."""
    cases: tuple[Case, ...]
    groups: dict[str, str] = field(default_factory=dict)
    """Group (for example the patient) of each case. All cases of a group stay in the same fold."""
    tags: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Image labels: the tags of each tagged case. An empty tuple: none of the tags apply to the case."""
    tag_order: tuple[str, ...] = ()
    """Declared tags, in their order; empty if the dataset does not declare them."""
    sites: dict[str, str] = field(default_factory=dict)
    """Site or scanner of a case."""
    regions: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Overlapping classes, each a set of label values. The network then has one sigmoid output per region."""
    region_order: tuple[int, ...] = ()
    """Label value written for each region; later regions overwrite earlier ones."""
    ignore: tuple[int, ...] = ()
    """Label values of voxels without annotation. Losses, sampling and metrics exclude these voxels."""
    annotated: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Annotated classes of each partly annotated case."""
    sides: tuple[tuple[str, str], ...] = ()
    """Pairs (left class, right class). Mirroring an image left to right swaps the labels of each pair."""
    one_sided: tuple[str, ...] = ()
    """Classes of one body side without a counterpart class. Images with such a class must not be mirrored left to
    right."""
    normalization: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Declared normalization by channel name. It replaces the default, which depends on the channel name."""
    optional_channels: dict[str, float] = field(default_factory=dict)
    """Optional channels by name, each with its fill value (a normalized intensity)."""

    extra_channels: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Additional computed input channels, by name."""

    @property
    def values(self) -> tuple[int, ...]:
        """Foreground label values, ascending. Preprocessed label maps store the position in this list, from 1 on."""
        listed = self.labels.values() if not self.regions else {v for region in self.regions.values() for v in region}
        return tuple(sorted(value for value in listed if value != 0))

    @property
    def classes(self) -> dict[str, tuple[int, ...]]:
        """Segmented and evaluated classes (or regions), each with its label values."""
        plain: dict[str, tuple[int, ...]] = {name: (value,) for name, value in self.labels.items() if value != 0}
        return self.regions or plain

    @property
    def written_values(self) -> dict[str, int]:
        """Label value of each class or region in predicted label maps."""
        if self.regions:
            return dict(zip(self.regions, self.region_order, strict=True))
        return {name: value for name, value in self.labels.items() if value != 0}

    @property
    def class_indices(self) -> dict[str, tuple[int, ...]]:
        """Return each class or region with its label values as stored in preprocessed label maps."""
        index = {value: number for number, value in enumerate(self.values, start=1)}
        return {name: tuple(index[value] for value in values) for name, values in self.classes.items()}

    @property
    def outputs(self) -> int:
        """Number of output channels of the network: one per region, or one per class plus background."""
        return len(self.regions) or len(self.classes) + 1

    @property
    def activation(self) -> Literal["softmax", "sigmoid"]:
        """Output activation: softmax for exclusive classes, sigmoid for overlapping regions."""
        return "sigmoid" if self.regions else "softmax"

    @property
    def tag_names(self) -> tuple[str, ...]:
        """All tags: in the declared order, otherwise sorted."""
        return self.tag_order or tuple(sorted({tag for tags in self.tags.values() for tag in tags}))

    @property
    def fill_values(self) -> dict[int, float]:
        """Fill value of each optional channel, by channel number."""
        return {
            number: self.optional_channels[name]
            for number, name in enumerate(self.channels)
            if name in self.optional_channels
        }

    def annotated_classes(self, case: str) -> dict[str, tuple[int, ...]]:
        """Return the annotated classes of a case. Training and evaluation use only these classes of the case."""
        named = self.annotated.get(case, tuple(self.classes))
        return {name: values for name, values in self.classes.items() if name in named}

    def case(self, name: str) -> Case:
        """Return the case called ``name``."""
        for case in self.cases:
            if case.name == name:
                return case
        raise DatasetError(f"dataset {self.name}: found no case '{name}'; compare the name with the image files")


def check_case_name(name: str) -> str:
    """Return ``name`` if it is a safe file name, else raise :class:`DatasetError`."""
    if not _SAFE_NAME.fullmatch(name):
        raise DatasetError(
            f"case name '{name}': expected letters, digits and any of '_-+.@= ', beginning with a letter, digit or _; "
            "rename the files"
        )
    return name


def source_state(case: Case) -> str:
    """Return a digest of the sizes and modification times of a case's files, to detect changed files."""
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
    """Write the description of a dataset, with the paths of its files."""
    write_json(path, to_plain(dataset))


def read_dataset(path: Path) -> Dataset:
    """Read a description that :func:`write_dataset` wrote."""
    dataset = read_record(Dataset, path, error=DatasetError)
    for case in dataset.cases:
        check_case_name(case.name)
    return dataset


@dataclass(frozen=True)
class CaseFiles:
    """Location of additional files of a case: sub-folders of its image folder, with the case name as file name."""

    folder: Path
    name: str


def files_of(case: Case) -> CaseFiles:
    """Return the location of additional files of a case that is stored as image files."""
    return CaseFiles(case.images[0].parent, case.name)
