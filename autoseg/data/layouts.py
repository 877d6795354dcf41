"""Find the cases of a dataset in the layout of nnU-Net v2, nnU-Net v1 or the Decathlon, or in two folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from autoseg.data.case_fields import read_groups, read_sites, read_tag_order, read_tags
from autoseg.data.dataset import Case, Dataset
from autoseg.data.declarations import read_extra_channels, read_normalization
from autoseg.data.kinds import check_labelled
from autoseg.data.labels import parse_annotated, parse_labels
from autoseg.data.listing import Listing, file_ending, group_channels, label_of, list_cases, without_listed
from autoseg.data.optional_channels import read_optional_channels
from autoseg.data.sides import read_sides
from autoseg.errors import DatasetError
from autoseg.files.storage import read_json
from autoseg.images.endings import IMAGE_ENDINGS, label_ending, split_ending

MOST_CHANNELS = 64
"""Largest number of channels. More channels usually mean that time frames or slices were stored as channels."""


def load_dataset(folder: Path) -> Dataset:
    """Read a dataset folder with a ``dataset.json`` of nnU-Net v2, nnU-Net v1 or the Decathlon."""
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise DatasetError(
            f"{folder}: found {found}, expected a dataset folder with dataset.json, imagesTr and labelsTr"
        )
    path = folder / "dataset.json"
    description = _read_description(path)
    channels = _channels(description, path)
    optional = read_optional_channels(description.get("optional_channels", {}), channels, path)
    cases = list_cases(Listing(folder, path, channels, optional), description)
    if not cases:
        raise DatasetError(f"{folder / 'imagesTr'}: found no training images, expected files like CASE_0000.nii.gz")
    names = [case.name for case in cases]
    dataset = replace(
        _label_meaning(description, path, cases=names),
        name=_name(description, path) or folder.resolve().name,
        channels=channels,
        file_ending=label_ending(file_ending(description, path) or _ending_of(cases)),
        cases=cases,
        groups=read_groups(description.get("groups", {}), cases, path),
        tags=read_tags(description, names, path),
        tag_order=read_tag_order(description, path),
        sites=read_sites(description.get("sites", {}), names, path),
        normalization=read_normalization(description.get("normalization", {}), channels, path),
        optional_channels=optional,
        extra_channels=read_extra_channels(description.get("extra_channels", {}), channels, path),
    )
    return check_labelled(dataset, path)


def read_label_meaning(path: Path) -> Dataset:
    """Read only the meaning of label values from a dataset.json: a dataset without channels and cases."""
    return _label_meaning(_read_description(path), path, cases=None)


def _label_meaning(description: dict[str, Any], path: Path, *, cases: Sequence[str] | None) -> Dataset:
    meaning = parse_labels(description, path)
    dataset = Dataset(
        name="",
        channels=(),
        labels=meaning.labels,
        file_ending="",
        cases=(),
        regions=meaning.regions,
        region_order=meaning.region_order,
        ignore=meaning.ignore,
    )
    classes = tuple(dataset.classes)
    sides = read_sides(description.get("sides"), classes, path)
    return replace(
        dataset,
        annotated=parse_annotated(description, path, classes=classes, cases=cases),
        sides=sides.pairs,
        one_sided=sides.single,
    )


def _read_description(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise DatasetError(
            f"{path}: not found, expected a description of the dataset; write one, or give two folders with --images "
            "and --labels"
        )
    description = read_json(path)
    if not isinstance(description, dict):
        found = type(description).__name__
        raise DatasetError(f"{path}: found a {found}, expected an object with channel_names and labels")
    return description


def load_folders(images: Path, labels: Path, unlabelled: Path | None = None, *, name: str | None = None) -> Dataset:
    """Read the cases of a folder of images and a folder of label maps. Each label value found becomes a class.

    ``unlabelled`` is a folder of images without label maps. The suffix ``_0000``, ``_0001``… gives the channel; a file
    without a suffix contains all channels of its case.
    """
    for folder in (images, labels, *([unlabelled] if unlabelled else [])):
        if not folder.is_dir():
            raise DatasetError(f"{folder}: no such folder, expected a folder of images")
    cases = [Case(case, files, label_of(labels, case)) for case, files in sorted(group_channels(images).items())]
    if not cases:
        raise DatasetError(f"{images}: found no images, expected files ending in one of {', '.join(IMAGE_ENDINGS)}")
    others = without_listed(group_channels(unlabelled), cases) if unlabelled else []
    return Dataset(
        name=name or images.resolve().parent.name or "dataset",
        channels=_count_channels(cases[0]),
        labels=_labels_in_use(cases),
        file_ending=label_ending(_ending_of(cases)),
        cases=tuple(sorted([*cases, *others], key=lambda case: case.name)),
    )


def _channels(description: dict[str, Any], path: Path) -> tuple[str, ...]:
    names = description.get("channel_names", description.get("modality"))
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise DatasetError(f'{path}: field \'channel_names\', found {names!r}, expected an object like {{"0": "CT"}}')
    odd = [value for value in names.values() if not isinstance(value, str)]
    if odd:
        raise DatasetError(
            f"{path}: field 'channel_names', found {odd[0]!r} for a name, expected a string such as 'CT'"
        )
    try:
        by_number = {int(key): value for key, value in names.items()}
    except ValueError:
        raise DatasetError(f'{path}: field \'channel_names\', found keys {list(names)}, expected "0", "1", …') from None
    if sorted(by_number) != list(range(len(by_number))):
        raise DatasetError(
            f'{path}: field \'channel_names\', found keys {list(names)}, expected "0", "1", … without a gap'
        )
    _check_channel_count(len(by_number), f"{path}: field 'channel_names'")
    return tuple(by_number[i] for i in sorted(by_number))


def _name(description: dict[str, Any], path: Path) -> str | None:
    """Return the dataset's name, which becomes part of a folder name."""
    name = description.get("name")
    if name is not None and (not isinstance(name, str) or "/" in name or "\\" in name or name.startswith(".")):
        raise DatasetError(
            f"{path}: field 'name', found {name!r}, expected a name without '/' that does not begin with '.'"
        )
    return name


def _ending_of(cases: Sequence[Case]) -> str:
    with_label = next((case for case in cases if case.label is not None), cases[0])
    split = split_ending(with_label.images[0])
    return split[1] if split else ".nii.gz"


def _count_channels(case: Case) -> tuple[str, ...]:
    from autoseg.images.volumes import read_volume

    count = len(case.images) if len(case.images) > 1 else read_volume(case.images).array.shape[0]
    _check_channel_count(count, str(case.images[0]))
    return tuple(f"channel_{i}" for i in range(count))


def _check_channel_count(count: int, place: str) -> None:
    if count > MOST_CHANNELS:
        raise DatasetError(
            f"{place}: found {count} channels, expected at most {MOST_CHANNELS}; if they are time frames or slices, "
            "store each as a separate case, or select fewer channels"
        )


def _labels_in_use(cases: Sequence[Case]) -> dict[str, int]:
    """Read the label values of all label maps; they become the classes ``label_1``, ``label_2`` and so on."""
    import numpy as np

    from autoseg.images.volumes import read_labels

    values: set[int] = set()
    for case in cases:
        if case.label is None or not case.label.exists():
            raise DatasetError(
                f"{case.label}: no such label map, expected one for case '{case.name}'; add it, or move the image to "
                "the folder of --unlabelled"
            )
        values |= {int(value) for value in np.unique(read_labels(case.label)[0])}
    foreground = sorted(values - {0})
    if not foreground:
        raise DatasetError(f"{cases[0].label}: found no label above 0 in any label map, expected at least one class")
    return {"background": 0, **{f"label_{value}": value for value in foreground}}
