"""What a dataset's description and a plan say of normalization, checked before it is used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autoseg.dataset import Dataset
from autoseg.errors import DatasetError, PlanError
from autoseg.plan import Component, Configuration, Plan
from autoseg.preprocessing.normalization import normalizations

_OTHER_NAMES = {"nonorm": "none", "rescale_to_0_1": "rescale", "rgb_to_0_1": "rgb"}
"""Channel names of nnU-Net that choose a normalization."""


_LEARNABLE = "learnable"
"""Field of declared windows: the planner makes them the first layer of the network."""


def by_channel_name(channel: str) -> Component:
    """Choose a normalization by a channel's name: CT, one of nnU-Net's, or that of any normalization; else a z-score.

    A channel called SUV holds standardized uptake values by its name. One called PET may as well hold Bq/ml, which
    differ between patients by dose and weight: like nnU-Net, we give it a z-score, which is right for both.
    """
    name = _OTHER_NAMES.get(channel.lower(), channel.lower())
    return {"name": name if name in normalizations.names() else "z_score"}


def read_declared(declared: Any, channels: Sequence[str], path: Path) -> dict[str, Component]:
    """Read the field ``normalization`` of a dataset.json: an object of channels, by number or name, and components.

    Raises :class:`DatasetError` for a channel that there is not, an unknown normalization, arguments that it does not
    take, learnable windows for several channels, and for channel names that choose a normalization which needs
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
                f"{path}: field 'normalization.{key}', found another one for a channel called '{channel}' as well; "
                "give these channels names of their own"
            )
        found[channel] = spec
    for channel in channels:
        _check_declared(found.get(channel, by_channel_name(channel)), f"{path}: field 'normalization', '{channel}'")
    learned = [channel for channel in channels if is_learnable(found.get(channel, {}))]
    if len(learned) > 1:
        raise DatasetError(
            f"{path}: field 'normalization', found learnable windows for {', '.join(learned)}, expected them for one "
            "channel at most; leave the others fixed"
        )
    return found


def is_learnable(spec: Component) -> bool:
    """Tell whether a declared normalization asks for windows that are learned with the network."""
    return bool(spec.get(_LEARNABLE, False))


def fixed_part(spec: Component) -> Component:
    """Return what a normalization itself takes of what is declared: all but whether windows are learned."""
    if spec["name"] != "window" or not isinstance(spec.get(_LEARNABLE, False), bool):
        return spec
    return {key: value for key, value in spec.items() if key != _LEARNABLE}


def declared_channel(key: str, channels: Sequence[str], place: str) -> str:
    """Return the name of the channel that a description calls ``key``, a name or number; ``place`` begins a fault."""
    if key in channels:
        return key
    if key.isdecimal() and int(key) < len(channels):
        return channels[int(key)]
    numbered = ", ".join(f"{number} ({name})" for number, name in enumerate(channels))
    raise DatasetError(f"{place}, found the channel '{key}', expected one of {numbered}")


def _check_declared(spec: Any, place: str) -> None:
    """Check a component that may leave out what the planner fits."""
    if not isinstance(spec, dict) or not isinstance(spec.get("name"), str):
        raise DatasetError(f"{place}: found {spec!r}, expected an object with a 'name'")
    try:
        fitted = getattr(normalizations.get(spec["name"]), "fitted", {})
        normalizations.build({**fitted, **fixed_part(spec)})
    except PlanError as error:
        raise DatasetError(f"{place}: {error}") from None


def check_plan(plan: Plan, dataset: Dataset, path: Path) -> None:
    """Check the channels of each configuration of a plan, as :func:`check_channels` does."""
    for name, configuration in plan.configurations.items():
        check_channels(configuration, dataset, f"{path}: field 'configurations.{name}")


def check_channels(configuration: Configuration, dataset: Dataset, place: str) -> None:
    """Check that a configuration has a normalization that can be carried out for each channel.

    So are the channels that are computed beside those of the image. ``place`` begins a fault and ends with the
    configuration's name.
    """
    from autoseg.preprocessing.extra.declared import check_plan_channels

    field = f"{place}.normalization'"
    if len(configuration.normalization) != len(dataset.channels):
        raise PlanError(
            f"{field}, found {len(configuration.normalization)}, expected {len(dataset.channels)}, one for each "
            f"channel ({', '.join(dataset.channels)}); mend the plan or plan again"
        )
    check_plan_channels(configuration.extra_channels, dataset, f"{place}.extra_channels'")
    for channel, spec in zip(dataset.channels, configuration.normalization, strict=True):
        try:
            normalizations.build(spec)
        except PlanError as error:
            raise PlanError(f"{field}, '{channel}': {error}") from None
