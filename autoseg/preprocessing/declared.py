"""Checks of the normalizations and extra channels that a dataset.json or a plan declares, before they are used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from autoseg.data.dataset import Dataset
from autoseg.errors import DatasetError, PlanError
from autoseg.plan.schema import Configuration, Plan
from autoseg.preprocessing.extra import built, extra_channels
from autoseg.preprocessing.normalization import normalizations
from autoseg.registry import Component

_OTHER_NAMES = {"nonorm": "none", "rescale_to_0_1": "rescale", "rgb_to_0_1": "rgb"}
"""Channel names of nnU-Net that choose a normalization."""


_LEARNABLE = "learnable"
"""Field of declared windows: the planner makes them the first layer of the network."""


def by_channel_name(channel: str) -> Component:
    """Choose a normalization by a channel's name: CT, a name of nnU-Net, the name of any normalization, else z-score.

    A channel called SUV contains standardized uptake values. A channel called PET can contain Bq/ml instead, which
    differ between patients by dose and weight. Like nnU-Net, PET gets a z-score, which is correct for both units.
    """
    name = _OTHER_NAMES.get(channel.lower(), channel.lower())
    return {"name": name if name in normalizations.names() else "z_score"}


def is_learnable(spec: Component) -> bool:
    """Return whether a declared normalization requests windows that are learned with the network."""
    return bool(spec.get(_LEARNABLE, False))


def fixed_part(spec: Component) -> Component:
    """Return the declared arguments that the normalization itself accepts: all except 'learnable' of windows."""
    if spec["name"] != "window" or not isinstance(spec.get(_LEARNABLE, False), bool):
        return spec
    return {key: value for key, value in spec.items() if key != _LEARNABLE}


def check_declared(dataset: Dataset, path: Path) -> None:
    """Check that the normalizations and extra channels that a dataset declares exist and accept their arguments.

    ``path``: the dataset.json. Raises :class:`DatasetError` with the name of the field, also if several channels
    declare learnable windows, and if a channel's name chooses a normalization that needs arguments.
    """
    declared = dataset.normalization
    for channel in dataset.channels:
        with _named(f"{path}: field 'normalization', '{channel}'"):
            _build_declared(declared.get(channel, by_channel_name(channel)))
    learned = [channel for channel in dataset.channels if is_learnable(declared.get(channel, {}))]
    if len(learned) > 1:
        raise DatasetError(
            f"{path}: field 'normalization', found learnable windows for {', '.join(learned)}, expected at most "
            "one channel with learnable windows; make the others fixed"
        )
    for name, spec in dataset.extra_channels.items():
        with _named(f"{path}: field 'extra_channels.{name}'"):
            built(spec)


def _build_declared(spec: Component) -> None:
    """Build a normalization; arguments that the planner fits may be absent."""
    fitted = getattr(normalizations.get(spec["name"]), "fitted", {})
    normalizations.build({**fitted, **fixed_part(spec)})


@contextmanager
def _named(field: str) -> Iterator[None]:
    """Convert :class:`PlanError` of a component to :class:`DatasetError` with the name of the dataset's field."""
    try:
        yield
    except PlanError as error:
        raise DatasetError(f"{field}: {error}") from None


def check_plan(plan: Plan, dataset: Dataset, path: Path) -> None:
    """Check the channels of each configuration of a plan, as :func:`check_channels` does."""
    for name, configuration in plan.configurations.items():
        check_channels(configuration, dataset, f"{path}: field 'configurations.{name}")


def check_channels(configuration: Configuration, dataset: Dataset, place: str) -> None:
    """Check that a configuration has a valid normalization for each channel, and valid extra channels.

    ``place`` is the first part of the error message; it ends with the configuration's name. Raises :class:`PlanError`.
    """
    field = f"{place}.normalization'"
    if len(configuration.normalization) != len(dataset.channels):
        raise PlanError(
            f"{field}, found {len(configuration.normalization)}, expected {len(dataset.channels)}, one for each "
            f"channel ({', '.join(dataset.channels)}); fix the plan or plan again"
        )
    check_plan_channels(configuration.extra_channels, dataset, f"{place}.extra_channels'")
    for channel, spec in zip(dataset.channels, configuration.normalization, strict=True):
        try:
            normalizations.build(spec)
        except PlanError as error:
            raise PlanError(f"{field}, '{channel}': {error}") from None


def check_plan_channels(specs: Mapping[str, Component], dataset: Dataset, place: str) -> None:
    """Check that a plan has the extra channels of its dataset, and that they can be built."""
    if list(specs) != list(dataset.extra_channels):
        raise PlanError(
            f"{place}, found {', '.join(specs) or 'none'}, expected those of dataset.json: "
            f"{', '.join(dataset.extra_channels) or 'none'}; fix the plan or plan again"
        )
    for name, spec in specs.items():
        try:
            made = extra_channels.build(spec)
        except PlanError as error:
            raise PlanError(f"{place}, '{name}': {error}") from None
        fault = made.fault(dataset) if hasattr(made, "fault") else None
        if fault:
            raise PlanError(f"{place}, '{name}': {fault}")
