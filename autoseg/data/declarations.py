"""Read the normalizations and extra channels that a dataset's description declares, without building them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autoseg.errors import AutosegError, DatasetError
from autoseg.registry import Component

_COMPONENT = "an object with a 'name'"


def is_component(spec: Any) -> bool:
    """Return whether a value is a component: an object with a 'name' and, optionally, arguments."""
    return isinstance(spec, dict) and isinstance(spec.get("name"), str)


def declared_channel(key: str, channels: Sequence[str], place: str) -> str:
    """Return the channel name for ``key``, a channel name or number; ``place`` is the start of an error message."""
    if key in channels:
        return key
    if key.isdecimal() and int(key) < len(channels):
        return channels[int(key)]
    numbered = ", ".join(f"{number} ({name})" for number, name in enumerate(channels))
    raise DatasetError(f"{place}, found the channel '{key}', expected one of {numbered}")


def read_normalization(declared: Any, channels: Sequence[str], path: Path) -> dict[str, Component]:
    """Read the field ``normalization`` of a dataset.json: an object of channels, by number or name, and components.

    Raises :class:`DatasetError` for a channel that does not exist, and for a value that is not a component.
    :func:`autoseg.preprocessing.declared.check_declared` checks whether the normalization exists and accepts the
    arguments.
    """
    if not isinstance(declared, dict):
        expected = 'an object like {"0": {"name": "window", "windows": [[40, 400]]}}'
        raise DatasetError(f"{path}: field 'normalization', found {declared!r}, expected {expected}")
    found: dict[str, Component] = {}
    for key, spec in declared.items():
        channel = declared_channel(key, channels, f"{path}: field 'normalization'")
        if found.get(channel, spec) != spec:
            raise DatasetError(
                f"{path}: field 'normalization.{key}', found a second one for the channel name '{channel}'; "
                "give the channels different names"
            )
        if not is_component(spec):
            raise DatasetError(f"{path}: field 'normalization', '{channel}': found {spec!r}, expected {_COMPONENT}")
        found[channel] = spec
    return found


def read_extra_channels(declared: Any, channels: Sequence[str], path: Path) -> dict[str, Component]:
    """Read the field ``extra_channels`` of a dataset.json: an object of names and components, see the registry.

    File paths become absolute. Raises :class:`DatasetError` for a value that is not a component, for an unreadable
    file, and for a name that an image channel already has.
    """
    if not isinstance(declared, dict):
        expected = 'an object like {"place": {"name": "position"}}'
        raise DatasetError(f"{path}: field 'extra_channels', found {declared!r}, expected {expected}")
    found: dict[str, Component] = {}
    for name, spec in declared.items():
        place = f"{path}: field 'extra_channels.{name}'"
        if name in channels:
            raise DatasetError(f"{place}, found the name of a channel of the image, expected another name")
        if not is_component(spec):
            raise DatasetError(f"{place}, found {spec!r}, expected {_COMPONENT}")
        found[name] = _with_absolute_file(spec, path, place)
    return found


def _with_absolute_file(spec: Component, path: Path, place: str) -> Component:
    from autoseg.images.volumes import read_volume

    file = spec.get("file")
    if not isinstance(file, str):
        return spec
    absolute = (path.parent / file).resolve()
    try:
        read_volume([absolute])
    except AutosegError as error:
        raise DatasetError(f"{place}: {error}") from None
    return {**spec, "file": str(absolute)}
