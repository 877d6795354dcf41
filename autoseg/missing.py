"""Channels that some cases lack: what a dataset fills them with, and which of them a case has no file of."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from autoseg.dataset import Case, Dataset, split_ending
from autoseg.errors import DatasetError, ImageError
from autoseg.preprocessing.normalization.declared import declared_channel

CHANNEL_SUFFIX = re.compile(r"(?P<name>.+)_(?P<channel>\d{4})")
"""The stem of a file that holds one channel."""


def read_missing(declared: Any, channels: Sequence[str], path: Path) -> dict[str, float]:
    """Read the field ``missing`` of a dataset.json: an object of channels, by number or name, and fill values.

    A value is one of normalized intensities; a case without the channel's file has it everywhere. Raises
    :class:`DatasetError` for a channel that there is not, and a value that is no finite number.
    """
    if not isinstance(declared, dict):
        raise DatasetError(f"{path}: field 'missing', found {declared!r}, expected an object like {{\"T2\": -4}}")
    found: dict[str, float] = {}
    for key, value in declared.items():
        place = f"{path}: field 'missing.{key}'"
        channel = declared_channel(key, channels, f"{path}: field 'missing'")
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise DatasetError(f"{place}, found {value!r}, expected a number of normalized intensity, such as -4")
        if found.get(channel, value) != value or list(channels).count(channel) > 1:
            raise DatasetError(f"{place}, found several channels called '{channel}'; give them names of their own")
        found[channel] = float(value)
    return found


def with_absent(case: Case, channels: Sequence[str], missing: Mapping[str, float]) -> Case:
    """Note which channels a case has no file of, where all of these may be missing.

    Files tell their channel by the number in their names; a single file may hold all channels instead.
    """
    numbers = _numbers(case.images)
    absent = tuple(number for number in range(len(channels)) if number not in numbers)
    is_numbered = len(numbers) == len(case.images) and set(numbers) <= set(range(len(channels)))
    if case.absent or not is_numbered or not absent or any(channels[number] not in missing for number in absent):
        return case
    if len(case.images) == 1 and _holds_several(case.images[0], len(channels)):
        return case
    return replace(case, absent=absent)


def missing_channels(case: Case, channels: Sequence[str]) -> str:
    """Say in one line which channels a case lacks by the numbers in its files' names; empty where they have no gap.

    Those that it may lack do not count. A single file numbered 0 may hold all channels.
    """
    numbers = _numbers(case.images)
    if case.absent or numbers == list(range(len(numbers))):
        return ""
    found = ", ".join(f"_{number:04d}" for number in numbers)
    lacking = {number: name for number, name in enumerate(channels) if number not in numbers}
    listed = ", ".join(f"_{number:04d} ({name})" for number, name in lacking.items())
    expected = f"expected {len(channels)} ({', '.join(channels)}), numbered from _0000"
    return f"found channels {found}, {expected}" + (f": {listed} missing{hint([*lacking.values()])}" if lacking else "")


def channel_count_fault(found: int, channels: Sequence[str]) -> str:
    """Say that an image has another number of channels than those of the dataset."""
    fault = f"found {found} channels, expected {len(channels)} ({', '.join(channels)})"
    return fault + (hint(channels[-1:]) if found < len(channels) else "")


def hint(channels: Sequence[str]) -> str:
    """Say what to do where cases lack channels."""
    example = ", ".join(f'"{channel}": -4' for channel in channels)
    return f"; add the files, or set 'missing' in dataset.json, such as {{{example}}}, to train with cases without them"


def absent_counts(dataset: Dataset, absent: Sequence[Sequence[int]]) -> dict[str, int]:
    """Count the cases that lack each of the channels that may be missing; ``absent`` has numbers for each case."""
    return {
        name: sum(number in numbers for numbers in absent)
        for number, name in enumerate(dataset.channels)
        if name in dataset.missing
    }


def _numbers(images: Sequence[Path]) -> list[int]:
    matches = [CHANNEL_SUFFIX.fullmatch((split_ending(path) or (path.name, ""))[0]) for path in images]
    return [int(match["channel"]) for match in matches if match]


def _holds_several(path: Path, channels: int) -> bool:
    from autoseg.images import count_channels

    try:
        return count_channels(path, channels) > 1
    except ImageError:
        return False  # Reading the image will say why.
