"""List the cases of a dataset, from its description or from the files in its folders."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoseg.data.dataset import Case, check_case_name
from autoseg.data.optional_channels import CHANNEL_SUFFIX, hint, with_missing_channels
from autoseg.errors import DatasetError
from autoseg.images.endings import IMAGE_ENDINGS, image_endings, label_ending, split_ending

UNLABELLED_FOLDER = "unlabelledTr"
"""Folder of the images without label maps, beside imagesTr."""


def group_channels(folder: Path, ending: str | None = None) -> dict[str, tuple[Path, ...]]:
    """Group the images of a folder by case, channels in order.

    Picture files (PNG, TIFF, …) are ignored if the folder also contains volumes, because they are then previews. Raises
    :class:`DatasetError` for a case found twice: with two endings, or with and without channel suffix.
    """
    paths = sorted(folder.iterdir())
    endings = (ending,) if ending else image_endings(paths)
    return _grouped(
        path for path in paths if split_ending(path, endings) and not path.name.startswith(".") and path.is_file()
    )


def _grouped(paths: Iterable[Path]) -> dict[str, tuple[Path, ...]]:
    """Group image files by case, as :func:`group_channels` does."""
    channels: dict[str, dict[int, Path]] = defaultdict(dict)
    for path in paths:
        split = split_ending(path) or (path.name, "")
        match = CHANNEL_SUFFIX.fullmatch(split[0])
        case, channel = (match["name"], int(match["channel"])) if match else (split[0], -1)
        if channel in channels[case] or (channels[case] and (channel == -1) != (-1 in channels[case])):
            other = next(iter(channels[case].values()))
            raise DatasetError(f"{path}: case '{case}' exists twice, also as {other.name}; keep one of the two")
        channels[check_case_name(case)][channel] = path
    return {case: tuple(files[i] for i in sorted(files)) for case, files in channels.items()}


def file_ending(description: dict[str, Any], path: Path) -> str | None:
    """Return the file ending of the images from the description; None if it gives no ending."""
    ending = description.get("file_ending")
    if ending is not None and ending not in IMAGE_ENDINGS:
        raise DatasetError(f"{path}: field 'file_ending', found {ending!r}, expected one of {', '.join(IMAGE_ENDINGS)}")
    return ending


@dataclass(frozen=True)
class Listing:
    """A dataset folder with its description and channels, as needed to list the cases."""

    folder: Path
    file: Path
    """Path of the description, for messages."""
    channels: tuple[str, ...]
    optional_channels: dict[str, float]


def list_cases(place: Listing, description: dict[str, Any]) -> tuple[Case, ...]:
    """List the training cases of the description, or those of the folder imagesTr; then the unlabelled cases."""
    if isinstance(description.get("dataset"), dict):
        cases = [_listed_v2(place, name, entry) for name, entry in description["dataset"].items()]
    elif isinstance(description.get("training"), list) and description["training"]:
        cases = [_listed_v1(place, entry) for entry in description["training"]]
    else:
        cases = _unlisted(place.folder, file_ending(description, place.file), description.get("tags"))
    names = [case.name for case in cases]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise DatasetError(f"{place.file}: case '{doubled[0]}' is listed twice; remove one of the two")
    found = [*cases, *_unlabelled(place, description, cases)]
    if place.optional_channels:
        found = [with_missing_channels(case, place.channels, place.optional_channels) for case in found]
    return tuple(sorted(found, key=lambda case: case.name))


def _unlisted(folder: Path, ending: str | None, tags: Any) -> list[Case]:
    """List the cases of imagesTr. Only a case with tags may lack its label map."""
    images, labels = folder / "imagesTr", folder / "labelsTr"
    if not images.is_dir():
        raise DatasetError(f"{images}: no such folder, expected the training images")
    tagged = tags if isinstance(tags, dict) else {}
    cases = []
    for name, files in group_channels(images, ending).items():
        label = label_of(labels, name, ending)
        cases.append(Case(name, files, None if name in tagged and not label.exists() else label))
    return cases


def _unlabelled(place: Listing, description: dict[str, Any], listed: Iterable[Case]) -> list[Case]:
    """List the cases of the field ``unlabelled``; without this field, those of the folder unlabelledTr."""
    folder, paths = place.folder / UNLABELLED_FOLDER, description.get("unlabelled")
    if paths is not None:
        found = _grouped(file for path in _paths(paths, place) for file in _channel_files(place, path))
    else:
        found = group_channels(folder, file_ending(description, place.file)) if folder.is_dir() else {}
    return without_listed(found, listed)


def without_listed(found: dict[str, tuple[Path, ...]], listed: Iterable[Case]) -> list[Case]:
    """Return unlabelled cases, without those whose same files are listed; raise :class:`DatasetError` for doubles."""
    images = {case.name: case.images for case in listed}
    for name, files in found.items():
        if images.get(name, files) != files:
            raise DatasetError(
                f"{files[0]}: case '{name}' exists twice, also as {images[name][0]}; keep one of the two"
            )
    return [Case(name, files) for name, files in found.items() if name not in images]


def _paths(declared: Any, place: Listing) -> list[Path]:
    if not isinstance(declared, list) or not all(isinstance(path, str) for path in declared):
        raise DatasetError(f"{place.file}: field 'unlabelled', found {declared!r}, expected a list of image files")
    return [place.folder / path for path in declared]


def _listed_v2(place: Listing, name: str, entry: Any) -> Case:
    """Read nnU-Net v2's explicit listing: case → {"images": [...], "label": ...}; null marks a missing channel.

    A case whose label is null or absent has no label map.
    """
    field = f"{place.file}: field 'dataset.{name}"
    try:
        names, label = entry["images"], _label_path(place, entry, "images")
        files = [names] if isinstance(names, str) else list(names)
    except (AttributeError, TypeError, KeyError):
        raise DatasetError(f"{field}', found {entry!r}, expected images and label, or images alone") from None
    missing_channels = tuple(number for number, file in enumerate(files) if file is None)
    if missing_channels and len(files) != len(place.channels):
        raise DatasetError(f"{field}.images', found {len(files)}, expected a file or null for each channel")
    lacking = [
        place.channels[number] for number in missing_channels if place.channels[number] not in place.optional_channels
    ]
    if lacking:
        raise DatasetError(f"{field}.images', found null for {', '.join(lacking)}, expected files{hint(lacking)}")
    images = tuple(place.folder / str(file) for file in files if file is not None)
    if not images:
        raise _without_images(field, name, place)
    return Case(check_case_name(name), images, label, missing_channels)


def _listed_v1(place: Listing, entry: Any) -> Case:
    """Read the Decathlon's listing; a case whose label is null or absent has no label map."""
    field = f"{place.file}: field 'training"
    try:
        image, label = place.folder / str(entry["image"]), _label_path(place, entry, "image")
    except (AttributeError, TypeError, KeyError):
        raise DatasetError(f"{field}', found {entry!r}, expected image and label, or image alone") from None
    stem, _ = split_ending(image) or (image.name, "")
    files = _channel_files(place, image)
    if not files:
        raise _without_images(field, stem, place)
    return Case(check_case_name(stem), files, label)


def _channel_files(place: Listing, image: Path) -> tuple[Path, ...]:
    """Return the files of a listed image: nnU-Net v1 omits the channel suffix of the file names."""
    if image.exists():
        return (image,)
    stem, ending = split_ending(image) or (image.name, "")
    files = [(image.with_name(f"{stem}_{number:04d}{ending}"), name) for number, name in enumerate(place.channels)]
    return tuple(file for file, channel in files if file.exists() or channel not in place.optional_channels)


def _label_path(place: Listing, entry: dict[str, Any], image_key: str) -> Path | None:
    """Return the label map of a listed case; None if it is null or absent. Raises KeyError for another key."""
    label = entry.get("label")
    if "label" not in entry and entry.keys() != {image_key}:
        raise KeyError("label")  # It may be mistyped; the case must not lose its label map silently.
    return None if label is None else place.folder / str(label)


def _without_images(field: str, name: str, place: Listing) -> DatasetError:
    return DatasetError(
        f"{field}', case '{name}': found no file of any channel, expected at least one, even if all of "
        f"{', '.join(place.optional_channels)} are optional; add one or remove the case"
    )


def label_of(folder: Path, name: str, ending: str | None = None) -> Path:
    """Return the path of a case's label map; if the file does not exist, the expected path."""
    candidates = [folder / f"{name}{e}" for e in ((label_ending(ending),) if ending else IMAGE_ENDINGS)]
    return next((path for path in candidates if path.exists()), candidates[0])
