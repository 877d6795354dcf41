"""Optional channels: their fill values, and the optional channels that are missing in each case."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from autoseg.data.dataset import Case, Dataset
from autoseg.data.declarations import declared_channel
from autoseg.errors import DatasetError, ImageError
from autoseg.images.endings import split_ending
from autoseg.images.geometry import Volume
from autoseg.images.volumes import read_volume

CHANNEL_SUFFIX = re.compile(r"(?P<name>.+)_(?P<channel>\d{4})")
"""File name, without ending, of a file with one channel."""


def read_optional_channels(declared: Any, channels: Sequence[str], path: Path) -> dict[str, float]:
    """Read the field ``optional_channels`` of a dataset.json: channels, by number or name, and their fill values.

    A fill value is a normalized intensity. Where a case lacks the channel's file, the whole channel has this value.
    Raises :class:`DatasetError` for an unknown channel and for a fill value that is not a finite number.
    """
    if not isinstance(declared, dict):
        raise DatasetError(
            f"{path}: field 'optional_channels', found {declared!r}, expected an object like {{\"T2\": -4}}"
        )
    found: dict[str, float] = {}
    for key, value in declared.items():
        place = f"{path}: field 'optional_channels.{key}'"
        channel = declared_channel(key, channels, f"{path}: field 'optional_channels'")
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise DatasetError(f"{place}, found {value!r}, expected a number of normalized intensity, such as -4")
        if found.get(channel, value) != value or list(channels).count(channel) > 1:
            raise DatasetError(
                f"{place}, found several channels with the name '{channel}', expected different names; rename them"
            )
        found[channel] = float(value)
    return found


def with_missing_channels(case: Case, channels: Sequence[str], optional: Mapping[str, float]) -> Case:
    """Return the case with its missing channels set, if all missing channels are optional.

    The number in a file name gives the channel; alternatively, a single file may contain all channels.
    """
    numbers = _numbers(case.images)
    missing_channels = tuple(number for number in range(len(channels)) if number not in numbers)
    is_numbered = len(numbers) == len(case.images) and set(numbers) <= set(range(len(channels)))
    if (
        case.missing_channels
        or not is_numbered
        or not missing_channels
        or any(channels[number] not in optional for number in missing_channels)
    ):
        return case
    if len(case.images) == 1 and _holds_several(case.images[0], len(channels)):
        return case
    return replace(case, missing_channels=missing_channels)


def channel_gaps(case: Case, channels: Sequence[str]) -> str:
    """Describe in one line the channels without a file, by the numbers in the file names; empty if none is missing.

    Optional channels are not reported. A single file numbered 0 may contain all channels.
    """
    numbers = _numbers(case.images)
    if case.missing_channels or numbers == list(range(len(numbers))):
        return ""
    found = ", ".join(f"_{number:04d}" for number in numbers)
    lacking = {number: name for number, name in enumerate(channels) if number not in numbers}
    listed = ", ".join(f"_{number:04d} ({name})" for number, name in lacking.items())
    expected = f"expected {len(channels)} ({', '.join(channels)}), numbered from _0000"
    return f"found channels {found}, {expected}" + (f": {listed} missing{hint([*lacking.values()])}" if lacking else "")


def channel_count_fault(found: int, channels: Sequence[str]) -> str:
    """Return the error message for an image whose number of channels differs from the dataset's."""
    fault = f"found {found} channels, expected {len(channels)} ({', '.join(channels)})"
    return fault + (hint(channels[-1:]) if found < len(channels) else "")


def hint(channels: Sequence[str]) -> str:
    """Return the advice for cases with missing channels, the last part of an error message."""
    example = ", ".join(f'"{channel}": -4' for channel in channels)
    return (
        f"; add the files, or set 'optional_channels' in dataset.json, such as {{{example}}}, to train with cases "
        "without them"
    )


def missing_counts(dataset: Dataset, missing_channels: Sequence[Sequence[int]]) -> dict[str, int]:
    """Count the cases without each optional channel; ``missing_channels`` lists channel numbers for each case."""
    return {
        name: sum(number in numbers for numbers in missing_channels)
        for number, name in enumerate(dataset.channels)
        if name in dataset.optional_channels
    }


def _numbers(images: Sequence[Path]) -> list[int]:
    matches = [CHANNEL_SUFFIX.fullmatch((split_ending(path) or (path.name, ""))[0]) for path in images]
    return [int(match["channel"]) for match in matches if match]


def _holds_several(path: Path, channels: int) -> bool:
    from autoseg.images.volumes import count_channels

    try:
        return count_channels(path, channels) > 1
    except ImageError:
        return False  # Reading the image later raises the error with its reason.


def read_case(case: Case, channels: int) -> Volume:
    """Read the existing channels of a case; ``channels`` is the dataset's channel count. See :func:`read_volume`."""
    return replace(
        read_volume(case.images, channels=channels - len(case.missing_channels)), missing_channels=case.missing_channels
    )
